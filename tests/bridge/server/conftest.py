import pytest

from tests.support.nodes import Nodes

TOKEN = "the-access-token-of-the-tests-0123456789"


@pytest.fixture
def nodes():
    """Nodes on a loop of the test's own."""
    with Nodes() as nodes:
        yield nodes


@pytest.fixture
def node(nodes):
    """A node, on a bus of its own."""
    return nodes.add("node", listening=False)


@pytest.fixture
def server(nodes, node):
    """It listens."""
    return nodes.listen(node, access_token=TOKEN)


@pytest.fixture
def address(server):
    """Where it does."""
    return server.address
