// Swagger UI as it comes: what is tried goes to this server, with the cookie of the page or the token that is given.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: "none",
});
