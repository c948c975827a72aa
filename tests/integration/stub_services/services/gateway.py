from services.stub import serve_http

serve_http("gateway")
