from services.stub import serve

serve("scheduling")
