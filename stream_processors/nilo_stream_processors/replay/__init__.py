"""Any stretch of history through the engine once more: bounded, without Faust, in no group."""
