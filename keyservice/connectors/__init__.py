"""Publishers' own APIs, described as data: what to send, what to believe of the answer, and the way out of the house."""
