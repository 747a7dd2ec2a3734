# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from backend.errors import ModelError
from backend.photo_network import PhotoNetwork, graph_to_text
from backend.tflite import read_graph
from tests.flatbuffer_writer import Number, write_flatbuffer

CONV, DEPTHWISE, DEQUANTIZE, RELU, PAD, MAX_POOL, FULLY_CONNECTED = 3, 4, 6, 19, 34, 17, 9


def integers(*values):
    return np.array(values, np.int32)


def tensor(shape, buffer=0, kind=0):
    return {0: integers(*shape), 1: Number("<b", kind), 2: Number("<I", buffer)}


def operator(code, inputs, output, options=None):
    fields = {0: Number("<I", code), 1: integers(*inputs), 2: integers(output)}
    return fields | ({4: options} if options else {})


def tflite_file(codes, tensors, operators, *, constants, inputs, outputs):
    """A file with one graph; buffer 0 is empty, as in real files."""
    graph = {0: tensors, 1: integers(*inputs), 2: integers(*outputs), 3: operators}
    buffers = [{}] + [{0: np.frombuffer(array.tobytes(), np.uint8)} for array in constants]
    return write_flatbuffer(
        {1: [{0: Number("<b", code), 3: Number("<i", code)} for code in codes], 2: [graph], 4: buffers}
    )


def convolution_file(weight, bias, *, activation=0, code=CONV):
    """Half-precision weights behind a dequantize operator, then a convolution with stride 2, same padding."""
    half = weight.astype(np.float16)
    return tflite_file(
        [DEQUANTIZE, code],
        [
            tensor((1, 5, 6, 2)),
            tensor(weight.shape, 1, kind=1),
            tensor(weight.shape),
            tensor(bias.shape, 2),
            tensor((1, 3, 3, weight.shape[0])),
        ],
        [
            operator(0, [1], 2),
            operator(1, [0, 2, 3], 4, {1: Number("<i", 2), 2: Number("<i", 2), 3: Number("<b", activation)}),
        ],
        constants=[half, bias],
        inputs=[0],
        outputs=[4],
    )


def run(data, image):
    graph = read_graph(data)
    weights = {str(number): torch.from_numpy(weight.copy()) for number, weight in graph.weights.items()}
    return PhotoNetwork(graph_to_text(graph), weights)(image)


def test_a_convolution_with_stride_equals_the_plain_sum():
    rng = np.random.default_rng(0)
    weight = rng.integers(-8, 8, (4, 3, 3, 2)).astype(np.float32) / 8
    bias = rng.normal(size=4).astype(np.float32)
    image = rng.normal(size=(5, 6, 2))
    (answer,) = run(convolution_file(weight, bias), torch.from_numpy(image).permute(2, 0, 1)[None].float())
    # TensorFlow's rule: 5 rows need 2 more for 3 outputs, one above and one below; 6 columns need 1, at the right.
    padded = np.pad(image, ((1, 1), (0, 1), (0, 0)))
    expected = np.array(
        [
            [
                [(padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * weight[k]).sum() + bias[k] for j in range(3)]
                for i in range(3)
            ]
            for k in range(4)
        ]
    )
    np.testing.assert_allclose(answer[0].numpy(), expected, atol=1e-5)


def test_half_precision_stays_half_precision_in_the_graph():
    graph = read_graph(convolution_file(np.ones((4, 3, 3, 2), np.float32), np.zeros(4, np.float32)))
    assert {weight.dtype for weight in graph.weights.values()} == {np.dtype(np.float16), np.dtype(np.float32)}
    assert [operation.kind for operation in graph.operations] == ["convolve"]


def test_padding_of_channels_and_pooling_run_in_order():
    data = tflite_file(
        [PAD, MAX_POOL],
        [tensor((1, 4, 4, 1)), tensor((4, 2), 1, kind=2), tensor((1, 4, 4, 3)), tensor((1, 2, 2, 3))],
        [
            operator(0, [0, 1], 2),
            operator(1, [2], 3, {index: Number("<i", 2) for index in (1, 2, 3, 4)}),
        ],
        constants=[integers(0, 0, 0, 0, 0, 0, 0, 2)],
        inputs=[0],
        outputs=[3],
    )
    (answer,) = run(data, torch.arange(16.0).reshape(1, 1, 4, 4))
    np.testing.assert_array_equal(answer[0, 0], [[5, 7], [13, 15]])
    assert answer.shape == (1, 3, 2, 2)
    assert (answer[0, 1:] == 0).all()


def test_what_cannot_be_run_is_refused_by_name():
    weight, bias = np.ones((4, 3, 3, 2), np.float32), np.zeros(4, np.float32)
    with pytest.raises(ModelError, match="activation in convolve"):
        read_graph(convolution_file(weight, bias, activation=1))
    with pytest.raises(ModelError, match=f"operator {FULLY_CONNECTED}"):
        read_graph(convolution_file(weight, bias, code=FULLY_CONNECTED))


def test_another_file_is_refused():
    with pytest.raises(ModelError, match="not a TensorFlow Lite file"):
        read_graph(b"PK\x03\x04 something else")
