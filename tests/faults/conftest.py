from tests.bridge.conftest import runtime

__all__ = ["runtime"]
