"""Google Vertex AI: Gemini on shared capacity, open models on one's own GPUs."""
