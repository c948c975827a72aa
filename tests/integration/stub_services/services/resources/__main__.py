from services.stub import serve

serve("resources")
