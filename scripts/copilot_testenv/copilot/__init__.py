"""Know Copilot's command lines, manifests and templates."""
