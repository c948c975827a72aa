"""What is shipped, as its users get it: the wheel in an environment outside of the checkout, and the image's files.

    FORGELOG_TEST_PYTHON=/path/to/python3.13 pytest tests/ship/test_wheel.py

builds and tries the wheel with another Python than the checkout's.
"""
