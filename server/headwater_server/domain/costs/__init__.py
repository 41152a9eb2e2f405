"""The costs of replies: prices, and exact sums."""
