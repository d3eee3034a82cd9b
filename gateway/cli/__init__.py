"""The command line: parse, call the SDK, print. Nothing is decided here."""
