"""`%share`, `%take`, `%shares`, `%unshare`."""


def test_a_variable_is_shared_and_taken(shell):
    assert shell.run("import numpy as np\ntable = np.arange(6.0).reshape(2, 3)\n%share table").startswith(
        "shared: table: ndarray 2 x 3, "
    )
    shell.run("there = %take table")
    assert shell["there"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_an_expression_is_shared_by_a_name(shell):
    shell.run("%share numbers [n * n for n in range(3)]  # squares")
    shell.run("there = %take numbers")
    assert shell["there"] == [0, 1, 4]


def test_they_are_listed_and_ended(shell):
    assert "nothing is shared" in shell.run("%shares")
    shell.run("%share text 'abc'")
    assert "text: str, " in shell.run("%shares")
    shell.run("%unshare text")
    assert "nothing is shared" in shell.run("%shares")


def test_mistakes_are_one_line(shell):
    for line, text in (
        ("%share", "a name is missing"),
        ("%share nothing_of_that_name", "does not evaluate: NameError"),
        ("%share x 1, 2", "one value is shared by one name"),
        ("%share a:b 1", "a name to share by is a part of an identifier"),
        ("%share f print", "can't cross a link"),
        ("%take nothing", "nothing is shared as 'nothing'"),
        ("%unshare nothing", "this process shares nothing as 'nothing'"),
    ):
        printed = shell.run(line)
        assert printed.startswith("UsageError: "), printed
        assert text in printed
        assert "\n" not in printed
