"""Services that refuse what the real ones refuse, for loops of tools."""
