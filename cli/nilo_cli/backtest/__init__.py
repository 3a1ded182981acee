"""`nilo replay backtest`: what alert rules would have done."""
