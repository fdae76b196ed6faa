"""How many inputs there are: each family has some, and none is there twice."""

from tests.hostile.case import Address, Call, HostileReply, Message, Signature
from tests.hostile.families import cases, count


def test_there_are_hundreds_and_each_is_another() -> None:
    counted = count()
    everything = [*cases(Call), *cases(Message), *cases(Address), *cases(HostileReply), *cases(Signature)]
    assert counted.total() == len(everything) >= 200
    assert all(counted.values())
