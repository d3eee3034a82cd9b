from tests.stories.conftest import Done


def test_x(finished: Done) -> None:
    print(finished.err)
    print(finished.shown)
