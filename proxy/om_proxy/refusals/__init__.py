"""What the proxy itself answers, in the words that each provider's clients parse."""
