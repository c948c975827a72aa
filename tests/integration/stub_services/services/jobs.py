from services.stub import serve

serve("jobs")
