"""Models with limits: linear heads on given features, what they would say unseen, memory."""
