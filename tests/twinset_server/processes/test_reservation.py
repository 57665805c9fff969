"""One server has a port, and all of its workers share it."""

import socket

import pytest

from twinset_server.config import AdminSettings, ServerSettings
from twinset_server.errors import StartupError
from twinset_server.processes.reservation import check_free, reserved


def listen(port: int, *, share: bool) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(share))
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def test_several_workers_listen_on_a_reserved_port() -> None:
    with reserved(ServerSettings(port=0)) as port, listen(port, share=True), listen(port, share=True):
        pass


def test_nobody_else_gets_a_reserved_port() -> None:
    with reserved(ServerSettings(port=0)) as port, pytest.raises(OSError, match="in use"):
        listen(port, share=False)


@pytest.mark.parametrize("share", [True, False])
def test_a_port_that_a_program_listens_on_is_refused(share: bool) -> None:
    with listen(0, share=share) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(
                StartupError, match=rf"can't listen on 127\.0\.0\.1:{port} .*choose another address with --port"
            ),
            reserved(ServerSettings(port=port)),
        ):
            pass


def test_a_second_server_is_refused_before_the_first_has_workers() -> None:
    with (
        reserved(ServerSettings(port=0)) as port,
        pytest.raises(StartupError, match="can't listen"),
        reserved(ServerSettings(port=port)),
    ):
        pass


def test_a_port_can_be_reserved_again_at_once_after_connections_to_it() -> None:
    with reserved(ServerSettings(port=0)) as port, listen(port, share=True) as listener:
        caller = socket.create_connection(("127.0.0.1", port))
        accepted, _ = listener.accept()
        # Who closes first keeps a lingering connection.
        accepted.close()
        caller.close()
    with reserved(ServerSettings(port=port)) as again:
        assert again == port


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartupError, match=r"can't listen on 192\.0\.2\.1"), reserved(ServerSettings(host="192.0.2.1")):
        pass


def test_an_operators_port_that_a_program_listens_on_is_refused() -> None:
    with listen(0, share=False) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartupError, match=rf"can't listen on 127\.0\.0\.1:{port} .*--admin-port"):
            check_free(AdminSettings(port=port))
    check_free(AdminSettings(port=port))
