"""SavedModels in memory, and the ways to call them. Imports TensorFlow: on a load thread only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

import numpy as np
from tensorflow.core.protobuf import config_pb2

from servman.adapters.examples import INPUTS, Inference, check_tasks, serialised
from servman.adapters.failures import run_failure
from servman.adapters.graph import close_session, open_session, return_memory
from servman.adapters.session_options import SessionOptions
from servman.adapters.signatures import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    REGRESS_METHOD,
    InferenceTask,
    Signature,
    TensorSpec,
)
from servman.adapters.tensors import checked_inputs, chosen_outputs, chosen_signature
from servman.errors import FailedPreconditionError, UnimplementedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike

    from servman.adapters.directory import VersionDirectory
    from servman.adapters.examples import Classification, Serializable
    from servman.adapters.signatures import SavedModelMetadata

    Run = Callable[..., list[Any]]
    Examples = Iterable[bytes | Serializable]

_MAX_CALLS: Final = 64
"""How many combinations of signature and outputs are kept prepared; clients choose them."""

_DEFAULT_OPTIONS: Final = SessionOptions()


@final
class SavedModelServable:
    """A SavedModel in memory.

    Attributes:
        id: The version.
        signatures: How it can be called, by name.
        metadata: What it tells of itself.
        checks_inputs: That `predict` itself refuses what does not fit the signatures.

    Threads: any number at once; no lock is taken on the way of a request. `close` is the loader's.
    """

    checks_inputs: Final = True

    def __init__(
        self,
        session: Any,
        signatures: Mapping[str, Signature],
        metadata: SavedModelMetadata,
        run_options: config_pb2.RunOptions,
    ) -> None:
        self.id = metadata.id
        self.signatures = signatures
        self.metadata = metadata
        self._live: _LiveSession | None = _LiveSession(session, run_options)

    @classmethod
    def load(
        cls,
        files: VersionDirectory,
        options: SessionOptions = _DEFAULT_OPTIONS,
        proceed: Callable[[], None] = lambda: None,
    ) -> SavedModelServable:
        """Load the SavedModel in *files*; see `open_session`."""
        return cls(*open_session(files, options, proceed))

    def predict(
        self,
        inputs: Mapping[str, ArrayLike] | ArrayLike,
        signature_name: str = DEFAULT_SIGNATURE,
        output_filter: Collection[str] | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Run the model once.

        An ndarray of another dtype or shape than the signature's is refused, never cast; lists and
        scalars take the signature's dtype, see `checked_inputs`.

        Blocks: until the model has answered; the interpreter lock is released meanwhile.

        Args:
            inputs: Values by the name of the input, or one value where there is one input. Inputs with a
                default in the signature may be left out.
            signature_name: Which signature to call.
            output_filter: Which outputs to compute; all of them when None or empty.

        Returns:
            An ndarray for each output; strings as bytes in an array of objects.

        Raises:
            FailedPreconditionError: There is no such signature, or the version was unloaded.
            InvalidArgumentError: Inputs or the filter do not fit the signature, or the model
                refused their values.
            UnimplementedError: An input or output is of a kind that no array can hold.
            ServmanError: The model failed otherwise.
        """
        live = self._running()
        call = None
        if output_filter is None and isinstance(signature_name, str):
            call = live.calls.get(signature_name)
        if call is None:
            call = self._call(live, signature_name, output_filter)
        arrays = checked_inputs(call.where, call.signature, inputs)
        return self._run(call, arrays)

    def classify(
        self, examples: Examples, signature_name: str = DEFAULT_SIGNATURE
    ) -> list[Classification]:
        """Return the labels and scores of each example, as TensorFlow Serving's Classify does.

        The signature has one input, "inputs", of serialised examples, and the outputs "classes", "scores"
        or both. Labels that are missing are "", scores 0.

        Blocks: until the model has answered; the interpreter lock is released meanwhile.

        Args:
            examples: `tf.train.Example` messages, or their bytes.
            signature_name: Which signature to call.

        Raises:
            InvalidArgumentError: There is no such signature or it takes no examples; *examples* is empty;
                an example cannot be parsed; or what the model gave is no classification.
            FailedPreconditionError: The signature lacks the names above, or the version was unloaded.
            ServmanError: The model failed otherwise.
        """
        task = InferenceTask(CLASSIFY_METHOD, signature_name)
        (classifications,) = self.multi_inference([task], examples)
        return classifications  # type: ignore[return-value] # of a task of this method

    def regress(self, examples: Examples, signature_name: str = DEFAULT_SIGNATURE) -> list[float]:
        """Return the number of each example, as TensorFlow Serving's Regress does.

        The signature has one input, "inputs", of serialised examples, and one output, "outputs". Blocks,
        takes and raises what `classify` does.
        """
        task = InferenceTask(REGRESS_METHOD, signature_name)
        (numbers,) = self.multi_inference([task], examples)
        return numbers  # type: ignore[return-value] # likewise

    def multi_inference(
        self, tasks: Sequence[InferenceTask], examples: Examples
    ) -> list[list[Classification] | list[float]]:
        """Classify and regress the same examples by several signatures, in one run of the model.

        Blocks: until the model has answered; the interpreter lock is released meanwhile.

        Args:
            tasks: What to do; each signature once.
            examples: `tf.train.Example` messages, or their bytes.

        Returns:
            For each task, in their order, what `classify` or `regress` would return.

        Raises:
            InvalidArgumentError: There is no task, or one signature comes twice; or as `classify`.
            UnimplementedError: A task's method is neither classification nor regression.
            FailedPreconditionError, ServmanError: As `classify`.
        """
        check_tasks(self.id, tasks)
        inferences = [Inference(self.id, self.signatures, task) for task in tasks]
        array = serialised(str(self.id), examples)
        call = self._examples_call(self._running(), inferences)
        outputs = self._run(call, [array] * len(call.signature.inputs))
        return [
            inference.result(
                {
                    name: outputs[inference.signature.outputs[name].name]
                    for name in inference.outputs
                },
                len(array),
            )
            for inference in inferences
        ]

    def close(self) -> None:
        """Close the session and return its memory to the operating system. Idempotent.

        Blocks: for a garbage collection: what TensorFlow makes is full of reference cycles, and
            without one the process would grow with every version.
        """
        live, self._live = self._live, None
        if live is None:
            return
        live.close()
        del live
        return_memory()

    def _running(self) -> _LiveSession:
        live = self._live
        if live is None:
            raise self._unloaded()
        return live

    def _call(
        self, live: _LiveSession, signature_name: str, output_filter: Collection[str] | None
    ) -> _Call:
        signature = chosen_signature(self.id, self.signatures, signature_name)
        where = f"{self.id}, signature {signature_name!r}"
        outputs = chosen_outputs(where, signature, output_filter)
        is_whole = len(outputs) == len(signature.outputs)
        return live.prepared(
            signature_name if is_whole else (signature_name, outputs), where, signature, outputs
        )

    def _examples_call(self, live: _LiveSession, inferences: Sequence[Inference]) -> _Call:
        """Return the call of all of them at once, where inputs and outputs go by the names of tensors.

        What TensorFlow 2 exports has an input of its own for each signature; all get the same.
        """
        taken = [inference.signature.inputs[INPUTS] for inference in inferences]
        given = [
            inference.signature.outputs[name]
            for inference in inferences
            for name in inference.outputs
        ]
        signature = Signature(
            inputs={spec.name: spec for spec in taken}, outputs={spec.name: spec for spec in given}
        )
        names = tuple(signature.outputs)
        where = "; ".join(inference.where for inference in inferences)
        return live.prepared((*signature.inputs, *names), where, signature, names)

    def _run(
        self, call: _Call, arrays: list[np.ndarray[Any, Any]]
    ) -> dict[str, np.ndarray[Any, Any]]:
        try:
            values = call.run(*arrays)
        except Exception as error:  # noqa: BLE001 -- TensorFlow raises whatever it likes
            failure = self._unloaded() if self._live is None else run_failure(call.where, error)
            raise failure from None
        answer = dict(zip(call.outputs, values, strict=True))
        for name, value in answer.items():
            if type(value) is not np.ndarray:
                answer[name] = _as_array(value)
        return answer

    def _unloaded(self) -> FailedPreconditionError:
        return FailedPreconditionError(
            f"{self.id} was unloaded; get a handle, and use the servable only while it is open"
        )


class _Call(NamedTuple):
    """A run that is prepared, with what is known of it before its inputs are."""

    where: str
    signature: Signature
    outputs: tuple[str, ...]
    run: Run


@final
class _LiveSession:
    """A session and the calls prepared in it: what goes all at once when the servable is closed.

    Attributes:
        calls: By the name of a signature, all of its outputs; under other keys, what else is asked for.
    """

    def __init__(self, session: Any, run_options: config_pb2.RunOptions) -> None:
        self._session = session
        self._run_options = run_options
        self.calls: dict[object, _Call] = {}  # no lock: a call may be prepared twice

    def prepared(
        self, key: object, where: str, signature: Signature, outputs: tuple[str, ...]
    ) -> _Call:
        call = self.calls.get(key)
        if call is None:
            call = _Call(where, signature, outputs, self._prepare(where, signature, outputs))
            if len(self.calls) < _MAX_CALLS:
                self.calls[key] = call
        return call

    def close(self) -> None:
        self.calls.clear()
        close_session(self._session)

    def _prepare(self, where: str, signature: Signature, outputs: tuple[str, ...]) -> Run:
        options = config_pb2.CallableOptions(run_options=self._run_options)
        options.feed.extend(_dense_names(where, signature.inputs))
        options.fetch.extend(
            _dense_names(where, {name: signature.outputs[name] for name in outputs})
        )
        try:
            # The public `make_callable` takes 170 us a call where this takes 25: with inputs it falls
            # back to `Session.run`, which parses names and feeds anew each time.
            run: Run = self._session._make_callable_from_options(options)  # noqa: SLF001 -- as said
        except Exception as error:  # noqa: BLE001 -- TensorFlow raises whatever it likes
            raise run_failure(where, error) from None
        return run


def _dense_names(where: str, specs: Mapping[str, TensorSpec]) -> list[str]:
    for name, spec in specs.items():
        if not spec.name or spec.is_opaque:
            raise UnimplementedError(
                f"{where}: {name!r} is a sparse, composite or opaque tensor ({spec}); export a signature"
                " with dense ones"
            )
    return [spec.name for spec in specs.values()]


def _as_array(value: Any) -> np.ndarray[Any, Any]:
    """Return as an array what a run gave: of scalars it gives numpy scalars, and bytes."""
    return np.array(value, dtype=object if isinstance(value, bytes) else None)
