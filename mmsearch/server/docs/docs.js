// Swagger UI as it comes: what is tried goes to this server, with the cookie of the page or the token that is given.
fetch("/openapi.json")
  .then((response) => response.json())
  .then((described) =>
    SwaggerUIBundle({
      spec: { ...described, servers: [{ url: location.origin }] }, // by the name that the browser knows it by
      dom_id: "#docs",
      deepLinking: true,
      displayRequestDuration: true,
      validatorUrl: "none",
    }),
  );
