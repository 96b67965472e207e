"""What the service says of itself: the OpenAPI document, made from the routes, and the page that shows it."""
