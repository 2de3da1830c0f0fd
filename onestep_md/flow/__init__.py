"""The step map F(s; t, d), how it is composed, and the losses that train it."""
