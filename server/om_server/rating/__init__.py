"""Rating: what usage costs (prices) and what it is charged (burn tables). Never knows a wallet."""
