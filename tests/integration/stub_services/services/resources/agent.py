import os

from services.stub import until_told

until_told(os.environ["FORGELOG_NODE"])
