import pytest
from IPython.core.error import UsageError

from berrymq_jupyter.following import FollowingMagics
from berrymq_jupyter.linking import LinkingMagics
from berrymq_jupyter.options import parse, split_options
from berrymq_jupyter.sending import SendingMagics


def read(line, magic=FollowingMagics.queue, example="%queue task:*"):
    return parse(magic, line, example)


class TestParse:
    def test_options_and_words_come_in_any_order(self):
        options = read("--maxsize 3 task:* --shared --overflow=raise")
        assert (options.identifier, options.maxsize, options.shared, options.overflow) == (
            "task:*",
            3,
            True,
            "raise",
        )

    def test_what_is_left_out_has_its_default(self):
        options = read("task:*")
        assert (options.maxsize, options.shared, options.overflow) == (0, False, "drop_oldest")
        assert read("", LinkingMagics.link).url is None

    @pytest.mark.parametrize(
        "line", ["task:* # a comment", "--maxsize 3 task:* #x", "task:* --shared # --no 'such", "task:*  #"]
    )
    def test_a_comment_may_stand_behind_it(self, line):
        assert read(line).identifier == "task:*"

    def test_a_hash_inside_of_a_word_is_none(self):
        assert read("task:#1 # the first").identifier == "task:#1"
        assert read("'# no comment:*'").identifier == "# no comment:*"
        assert read("# nothing else", LinkingMagics.link).url is None

    def test_quotes_keep_words_together_and_are_taken_off(self):
        assert read("'two words:*'").identifier == "two words:*"
        assert read("'-x:*'").identifier == "-x:*"
        assert read('--room "team a"', LinkingMagics.link).room == "team a"
        options = read('--room="team a" http://x', LinkingMagics.link)
        assert (options.room, options.url) == ("team a", "http://x")

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("", "an identifier is missing, as in: %queue task:*"),
            (
                "--many task:*",
                "it has --shared, --durable, --maxsize, --overflow and --past; write, for example: ",
            ),
            ("-h", "%queue? shows the help"),
            ("task:* more", "%queue does not take more; write, for example: %queue task:*"),
            ("--maxsize x a:b", "%queue wants --maxsize to be a whole number, not x"),
            ("--maxsize", "%queue needs a value behind --maxsize"),
            ("--maxsize --shared", "%queue needs a value behind --maxsize"),
            ("--maxsize= 3 a:b", "%queue needs a value behind --maxsize"),
            ("--shared=yes a:b", "%queue takes --shared without a value"),
            (
                "--overflow never a:b",
                "%queue wants --overflow to be drop_oldest, drop_newest, raise or block, not never",
            ),
            ("'a:b", "the quote before a:b is not closed"),
        ],
    )
    def test_mistakes_say_what_to_write(self, line, said):
        with pytest.raises(UsageError) as caught:
            read(line)
        assert said in str(caught.value)

    def test_where_there_are_no_options_none_are_named(self):
        with pytest.raises(
            UsageError, match=r"^%followers has no option --x; write, for example: %followers$"
        ):
            read("--x", FollowingMagics.followers, "%followers")


class TestSplitOptions:
    def split(self, line):
        return split_options(SendingMagics.ask, line, "%ask price:get")

    def test_options_come_first(self):
        options, identifier, rest = self.split("--timeout 2.5 price:get --timeout, -1")
        assert (options.timeout, identifier.text) == (2.5, "price:get")
        assert rest == "--timeout, -1"

    def test_or_right_behind_the_identifier(self):
        options, identifier, rest = self.split("price:get --timeout 2.5 -1, --timeout=3")
        assert (options.timeout, identifier.text) == (2.5, "price:get")
        assert rest == "-1, --timeout=3"

    def test_the_value_may_be_joined(self):
        options, _, rest = self.split("--timeout=3 price:get 1")
        assert (options.timeout, rest) == (3, "1")

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (
                "--nonsense a:b",
                "%ask has no option --nonsense: it has --timeout; write, for example: %ask price",
            ),
            ("--timeout soon a:b", "%ask wants --timeout to be a number of seconds, not soon"),
            ("--timeout -1 a:b", "%ask wants --timeout to be a number of seconds, not -1"),
            ("--timeout nan a:b", "%ask wants --timeout to be a number of seconds, not nan"),
            ("--timeout", "%ask needs a value behind --timeout"),
            ("price:get --timeout", "%ask needs a value behind --timeout"),
        ],
    )
    def test_a_bad_one_is_named(self, line, said):
        with pytest.raises(UsageError) as caught:
            self.split(line)
        assert said in str(caught.value)
