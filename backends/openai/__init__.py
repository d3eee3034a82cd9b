"""OpenAI, Azure OpenAI and any endpoint that speaks the same protocol: one room, three facts files."""
