"""Ours and what people would use instead, measured in the same rounds."""
