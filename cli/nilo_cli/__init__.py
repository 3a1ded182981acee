"""The command line `nilo`: each command calls the parts and shows what they answer."""
