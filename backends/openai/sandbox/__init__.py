"""Local stand-ins for OpenAI, Azure OpenAI and compatible servers. See `backends.sandbox`."""
