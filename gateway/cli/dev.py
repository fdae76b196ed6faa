"""`gateway dev`: the demo's stack, kept up until Ctrl-C."""

import os
import shlex
import sys
import time
from pathlib import Path

import click

from gateway.dev.interrupts import Interrupted, Interrupts
from gateway.dev.process import ProcessError
from gateway.dev.stack import Stack, StackError

__all__ = ["dev"]

_CHECK_S = 0.2

_HOW = """\
Ready. In another shell, in this folder:

{exports}
{path}

  gateway call user-service GET '/users/{{user_id}}' -p user_id=123
  gateway call user-service goodgo.user.v1.UserService/GetUser -d '{{"user_id": "123"}}'
  gateway call user-service 'query($id: ID!) {{ user(id: $id) {{ name }} }}' -d '{{"id": "123"}}'

or in Python:

  from gateway import Gateway, RestCall

  with Gateway.from_env() as gateway:
      call = RestCall("user-service", "GET", "/users/{{user_id}}", path={{"user_id": "123"}})
      print(gateway.submit(call, deadline=10).result())

A request header x-demo-behaviour makes the service slow=200 (ms), fail, unavailable, rate-limit or hang:

  gateway call partner GET '/users/{{user_id}}' -p user_id=123 -H x-demo-behaviour=unavailable

Flower: {flower_url}   user and password: {flower_login}
Logs:   {folder}

Ctrl-C stops everything."""


@click.command()
@click.option("--rabbitmq", is_flag=True, help="Carry the calls on a RabbitMQ, started from the system's packages.")
def dev(rabbitmq: bool) -> None:
    """Start Valkey, a user service, one worker and Flower on free ports, and keep them until Ctrl-C."""
    stack: Stack | None = None
    try:
        with Interrupts() as interrupts:
            click.echo("Starting Valkey, the user service, a worker and Flower …")
            stack = Stack(interrupts=interrupts, rabbitmq=rabbitmq)
            with stack:
                click.echo(_how(stack))
                while True:
                    stack.check()
                    time.sleep(_CHECK_S)
    except Interrupted as interrupted:
        click.echo("\nStopped everything.")
        # Ctrl-C is how this command ends.
        sys.exit(0 if interrupted.exit_code == 130 else interrupted.exit_code)
    except (ProcessError, StackError, OSError) as error:
        click.echo(f"\n{error}", err=True)
        sys.exit(1)
    finally:
        if stack is not None and stack.kept:
            click.echo(f"The rest has been stopped. All logs: {stack.folder}", err=True)


def _how(stack: Stack) -> str:
    """How to call it. A producer needs broker, results, catalogue and its own key, and no secret of any service."""
    exports = "\n".join(
        f"  export {name}={shlex.quote(value)}" for name, value in stack.environ.items() if name.startswith("GATEWAY_")
    )
    # `make dev` runs it without activating the environment.
    bin_folder = Path(sys.executable).parent
    on_path = str(bin_folder) in os.environ.get("PATH", "").split(os.pathsep)
    path = "" if on_path else f"  export PATH={shlex.quote(str(bin_folder))}:$PATH\n"
    return _HOW.format(
        exports=exports, path=path, flower_url=stack.flower.url, flower_login=stack.flower.login, folder=stack.folder
    )
