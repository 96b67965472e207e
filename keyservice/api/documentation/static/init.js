"use strict";

// No validator: it would send the address of this service to another host. Tokens are forgotten with the page.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  validatorUrl: null,
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  filter: true,
  persistAuthorization: false,
  displayRequestDuration: true,
});
