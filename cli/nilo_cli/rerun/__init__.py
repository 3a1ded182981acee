"""Rules once more on the final windows that were: for why-not, advise and backtest."""
