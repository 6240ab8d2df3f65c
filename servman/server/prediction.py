"""TensorFlow Serving's `PredictionService`: what is asked of models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from servman.adapters.signatures import CLASSIFY_METHOD, REGRESS_METHOD
from servman.adapters.tensor_proto import write_array
from servman.adapters.tensors import Place
from servman.errors import InvalidArgumentError, UnimplementedError
from servman.protos import message_class
from servman.server import inference, lookup
from servman.server.metadata import write_signatures
from servman.server.methods import Method

if TYPE_CHECKING:
    from servman.adapters.examples import Classification
    from servman.core import ServerCore
    from servman.manager import ServableHandle
    from servman.server.calls import Call
    from servman.server.request_log import RequestLog

SERVICE: Final = "tensorflow.serving.PredictionService"

_PredictResponse = message_class("tensorflow.serving.PredictResponse")
_ClassificationResponse = message_class("tensorflow.serving.ClassificationResponse")
_RegressionResponse = message_class("tensorflow.serving.RegressionResponse")
_MultiInferenceResponse = message_class("tensorflow.serving.MultiInferenceResponse")
_GetModelMetadataResponse = message_class("tensorflow.serving.GetModelMetadataResponse")

_SIGNATURE_DEF: Final = "signature_def"


@final
class PredictionService:
    """Answers requests to models with the texts and values of TensorFlow Serving.

    Args:
        core: What serves the models.
        log: Is told of each request and its answer.
        packed: Whether numbers go back as bytes, in `tensor_content`.

    Threads: any.
    """

    def __init__(self, core: ServerCore, log: RequestLog, *, packed: bool = False) -> None:
        self._core = core
        self._log = log
        self._packed = packed

    @property
    def methods(self) -> list[Method]:
        """What can be called."""
        table = {
            "Predict": ("PredictRequest", self.predict),
            "Classify": ("ClassificationRequest", self.classify),
            "Regress": ("RegressionRequest", self.regress),
            "MultiInference": ("MultiInferenceRequest", self.multi_inference),
            "GetModelMetadata": ("GetModelMetadataRequest", self.get_model_metadata),
        }
        return [
            Method(
                service=SERVICE,
                name=name,
                request=message_class(f"tensorflow.serving.{request}"),
                answer=answer,
            )
            for name, (request, answer) in table.items()
        ]

    def predict(self, request: Any, call: Call) -> Any:
        """Run a model once."""
        with self._handle(request) as handle:
            version = call.servable = handle.id
            outputs = inference.predict(handle, request)
            response = _PredictResponse()
            written = response.outputs
            for name, array in outputs.items():
                write_array(
                    Place(version, "output", name), array, written[name], packed=self._packed
                )
            lookup.write_spec(version, request.model_spec, response.model_spec)
            self._log.note("predict", handle, request, response)
        return response

    def classify(self, request: Any, call: Call) -> Any:
        """Give labels and scores for each example."""
        with self._handle(request) as handle:
            call.servable = handle.id
            found = inference.on_examples(handle, "classify", request)
            response = _ClassificationResponse()
            _write_classes(found, response.result)
            lookup.write_spec(handle.id, request.model_spec, response.model_spec)
            self._log.note("classify", handle, request, response)
        return response

    def regress(self, request: Any, call: Call) -> Any:
        """Give a number for each example."""
        with self._handle(request) as handle:
            call.servable = handle.id
            found = inference.on_examples(handle, "regress", request)
            response = _RegressionResponse()
            _write_numbers(found, response.result)
            lookup.write_spec(handle.id, request.model_spec, response.model_spec)
            self._log.note("regress", handle, request, response)
        return response

    def multi_inference(self, request: Any, call: Call) -> Any:
        """Do several of these on the same examples."""
        tasks = _checked_tasks(request)
        with lookup.handle_on(self._core, tasks[0].model_spec) as handle:
            call.servable = handle.id
            found = inference.on_examples(handle, "multi_inference", request)
            response = _MultiInferenceResponse()
            for task, one in zip(tasks, found, strict=True):
                result = response.results.add()
                _WRITERS[task.method_name](one, result)
                lookup.write_spec(handle.id, task.model_spec, result.model_spec)
            self._log.note("multi_inference", handle, request, response)
        return response

    def get_model_metadata(self, request: Any, call: Call) -> Any:
        """Tell the signatures of a model."""
        if not request.metadata_field:
            raise InvalidArgumentError(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise InvalidArgumentError(f"Metadata field {field} is not supported")
        with self._handle(request) as handle:
            call.servable = handle.id
            response = _GetModelMetadataResponse()
            response.model_spec.name = handle.id.name
            response.model_spec.version.value = handle.id.version
            write_signatures(handle.id, handle.servable, response.metadata[_SIGNATURE_DEF])
        return response

    def _handle(self, request: Any) -> ServableHandle[Any]:
        if not request.HasField("model_spec"):
            raise InvalidArgumentError("Missing ModelSpec")
        return lookup.handle_on(self._core, request.model_spec)


def _checked_tasks(request: Any) -> Any:
    tasks = request.tasks
    if not tasks:
        raise InvalidArgumentError("A MultiInferenceRequest has at least one task.")
    names = [task.model_spec.name for task in tasks]
    if not all(names):
        raise InvalidArgumentError("Found ModelSpec with an empty model name.")
    if any(name != names[0] for name in names):
        raise InvalidArgumentError(
            "All ModelSpecs in a MultiInferenceRequest must access the same model name."
        )
    for task in tasks:
        if task.method_name not in _WRITERS:
            raise UnimplementedError(f"Unsupported signature method_name: {task.method_name}")
    return tasks


def _write_classes(found: list[Classification], result: Any) -> None:
    result.SetInParent()
    for labels in found:
        classes = result.classifications.add().classes
        for label, score in labels:
            classes.add(label=label, score=score)


def _write_numbers(found: list[float], result: Any) -> None:
    result.SetInParent()
    for value in found:
        result.regressions.add(value=value)


_WRITERS: Final = {
    CLASSIFY_METHOD: lambda found, result: _write_classes(found, result.classification_result),
    REGRESS_METHOD: lambda found, result: _write_numbers(found, result.regression_result),
}
"""Write what a task has found, by its method."""
