"""What a user or a developer runs on their own machine; the production worker never needs it."""
