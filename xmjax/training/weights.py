"""What a run begins with: another run's parameters, published weights of ResNet-18 or a ViT, word vectors.

Files are read once, before the first step; a run that goes on has everything in its checkpoint.
"""

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import safetensors

from xmjax import files, inference, sharding
from xmjax.config import AudioConfig, Config, ImageConfig, MeshConfig, ModelConfig, TextConfig
from xmjax.errors import UserError
from xmjax.models import resnet, vit
from xmjax.models.word_hash import STOPWORDS, hash_word, one_word

Arrays = dict[str, np.ndarray]
Report = dict[str, Any]

SAFETENSORS = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "I64": np.int64,
    "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
"""Names of types in a .safetensors file."""

_LAYERS = re.compile(r"(^|/)(attention|cross|mlp|cross_mlp)_(norm|query|key|value|out|up|down)$")
"""Parameters of a `models.stack.Stack`, which have one entry a layer."""

_WRITING = ("_out", "_down")
"""Those that write into the residual stream."""


def read(config: ModelConfig, params: Mapping[str, Any]) -> tuple[Arrays, Report]:
    """What the files that a config names have for its model.

    Args:
      config: of the model.
      params: its parameters, or their shapes.

    Returns:
      Arrays by the path of the parameter that they replace, and a report by modality: the "file"; parameters "loaded"
      from it and "missing" in it; what of it is "unused"; and what was "reshaped", and how.

    Raises:
      UserError: a file is missing, damaged, of an unknown format or of another model.
    """
    arrays: Arrays = {}
    report: Report = {}
    for modality, options in config.modalities.items():
        if not isinstance(options, TextConfig | ImageConfig | AudioConfig) or not options.weights:
            continue  # a modality of the user's own begins as its embedder does
        field, scope = f"config.model.{modality}.weights={options.weights}", f"embedders_{modality}"
        if not Path(options.weights).expanduser().is_file():
            raise UserError(f"{field}: there is no such file; give the path of one, or leave it out to begin at random")
        path = Path(options.weights).expanduser()
        shapes = {name: tuple(leaf.shape) for name, leaf in params[scope].items()}
        if isinstance(options, TextConfig):
            found, told = _words(path, field, options, shapes)
        else:
            found, told = (_vit if options.embedder == "vit" else _resnet18)(path, field, options, shapes)
        arrays |= {f"{scope}/{name}": array for name, array in found.items()}
        told |= {"loaded": sorted(found), "missing": sorted(shapes.keys() - found.keys())}
        report[modality] = {"file": options.weights} | told
    return arrays, report


def placed(params: Any, arrays: Arrays) -> Any:
    """The parameters with what was read in the place of what was drawn, on the same devices."""

    def one(path: Any, leaf: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        array = arrays.get(name)
        if array is None:
            return leaf
        if array.ndim and len(array) < len(leaf):
            return _deepened(leaf, array, keeps=not name.endswith(_WRITING))
        return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: array[index].astype(leaf.dtype))

    return jax.tree_util.tree_map_with_path(one, params)


def _deepened(leaf: jax.Array, array: np.ndarray, keeps: bool) -> jax.Array:
    """A stack's parameter with fewer layers in the place of its first ones; of the others what was drawn, or zero."""

    def stacked(drawn: jax.Array) -> jax.Array:
        rest = drawn[len(array) :]
        return jnp.concatenate([jnp.asarray(array, drawn.dtype), rest if keeps else jnp.zeros_like(rest)])

    return jax.jit(stacked, out_shardings=leaf.sharding)(leaf)


def begin(config: Config, state: Any, workdir: Path) -> Any:
    """A first state with the parameters of the run that the config begins from and the weights of the files it names.

    Tells what they were and writes weights.json.

    Raises:
      UserError: see `read` and `read_run`.
    """
    arrays, report = read(config.model, state.params)
    if config.begin_from:
        found, told = read_run(Path(config.begin_from), state.params)
        arrays, report = found | arrays, {"run": told} | report
    if not report:
        return state
    if jax.process_index() == 0:
        files.write(workdir / "weights.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        for modality, told in report.items():
            print(f"{'the model' if modality == 'run' else modality} begins with {summary(told)}", flush=True)
    ema = None if state.ema is None else placed(state.ema, arrays)
    return state.replace(params=placed(state.params, arrays), ema=ema)


def read_run(workdir: Path, params: Mapping[str, Any]) -> tuple[Arrays, Report]:
    """The parameters that another run ended with, where this run has some of the same name and shape.

    Where a stack has fewer layers there, they become its first ones here, and what is added to them writes nothing yet.

    Args:
      workdir: of the other run.
      params: of this run's model, or their shapes.

    Returns:
      As `read`, of one file; "deepened" are those of which there are fewer layers there, "reshaped" those of another
      shape, which are not taken.

    Raises:
      UserError: there is no such run or checkpoint, or most of what both have is of other shapes.
    """
    config = inference.read_config(workdir)
    # Each process reads all of it: what one holds of a mesh need not be what it needs.
    alone = sharding.make_mesh(MeshConfig(1, 1, 1), jax.local_devices()[:1])
    with jax.set_mesh(alone):
        state, step = inference.restore(workdir, config, alone)
        given = {name: np.asarray(leaf) for name, leaf in _named(state.used).items()}
    shapes = {name: tuple(leaf.shape) for name, leaf in _named(params).items()}
    found = {name: array for name, array in given.items() if shapes.get(name) == array.shape}
    deepened = {
        name: array
        for name, array in given.items()
        if _LAYERS.search(name) and shapes.get(name, ())[1:] == array.shape[1:] and len(array) < shapes[name][0]
    }
    found |= deepened
    other = sorted(
        f"{n}: {given[n].shape} there, {shapes[n]} here" for n in given.keys() & shapes.keys() if n not in found
    )
    if len(other) > len(found):
        raise UserError(
            f"config.begin_from={workdir} has {len(other)} parameters of other shapes than this model and only "
            f"{len(found)} of the same ({other[0]}): begin with a run of the same sizes (model.width and the numbers "
            "of layers), or set them as they are there"
        )
    return found, {
        "file": f"{workdir}, step {step}",
        "loaded": sorted(found),
        "missing": sorted(shapes.keys() - given.keys()),
        "unused": sorted(given.keys() - shapes.keys()),
        "deepened": sorted(deepened),
        "reshaped": other,
    }


def _named(params: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def summary(told: Mapping[str, Any]) -> str:
    """One line on one file."""

    def counted(what: str) -> str:
        names = told[what]
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        return f"{len(names)} {what}{f' ({shown})' if names and what != 'loaded' else ''}"

    return f"{told['file']}: " + "; ".join(
        counted(what) for what in ("loaded", "missing", "unused", "deepened", "reshaped") if what in told
    )


def _resnet18(
    path: Path, field: str, options: ImageConfig | AudioConfig, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Arrays, Report]:
    """ResNet-18 by the names of torchvision's and timm's state dicts, batch norms folded into scale and shift."""
    given = read_arrays(path, field)
    channels = shapes["kernel_stem"][2]
    found: Arrays = {}
    reshaped: list[str] = []
    used: set[str] = set()
    for name in resnet.convolutions(options.stem, channels, options.patch):
        convolution, norm = _names(name)
        if f"{convolution}.weight" in given:
            used.add(f"{convolution}.weight")
            kernel = given[f"{convolution}.weight"].astype(np.float32)
            if kernel.ndim == 4 and kernel.shape[1] == 3 and name == "stem" and channels == 1:
                kernel = kernel.mean(1, keepdims=True)
                reshaped.append(f"{convolution}.weight: averaged over its 3 channels")
            found[f"kernel_{name}"] = kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel
        parts = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        if all(part in given for part in parts):
            used.update(parts)
            found[f"scale_{name}"], found[f"shift_{name}"] = folded(*(given[p].astype(np.float32) for p in parts))
    if not found:
        raise UserError(
            f"{field}: has no array named as in torchvision's or timm's ResNet-18, such as layer1.0.conv1.weight, but "
            f"{', '.join(sorted(given)[:3]) or 'none at all'}; save the state dict of such a model"
        )
    for name, array in found.items():
        if array.shape != shapes[name]:
            raise UserError(
                f"{field}: {name} has shape {array.shape} there and {shapes[name]} here; give a ResNet-18 with "
                f"{options.stem} channels in its first stage (stem)"
            )
    return found, {"unused": sorted(given.keys() - used), "reshaped": reshaped}


def _vit(
    path: Path, field: str, options: ImageConfig | AudioConfig, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Arrays, Report]:
    """A vision transformer by the names of timm's state dicts."""
    given = read_arrays(path, field)
    blocks = len({name.split(".")[1] for name in given if name.startswith("blocks.")})
    depth = shapes["attention_query"][0]
    if blocks and blocks != depth:
        raise UserError(f"{field}: has {blocks} layers; set config.model.image.depth={blocks}, which is {depth}")
    found, used, reshaped = vit.from_timm(given, shapes)
    if not found:
        raise UserError(
            f"{field}: has no array named as in timm's vision transformers, such as blocks.0.attn.qkv.weight, but "
            f"{', '.join(sorted(given)[:3]) or 'none at all'}; save the state dict of such a model"
        )
    if other := sorted(name for name in given.keys() - used if not name.startswith(("head", "fc_norm"))):
        raise UserError(
            f"{field}: is of another kind of vision transformer, which has {', '.join(other[:3])}; give a plain one"
        )
    for name, array in found.items():
        if array.shape != shapes[name]:
            raise UserError(
                f"{field}: {name} has shape {array.shape} there and {shapes[name]} here; set model.image.stem to its "
                "width, depth to its layers and patch to its patches"
            )
    return found, {"unused": sorted(given.keys() - used), "reshaped": reshaped}


def folded(
    weight: np.ndarray, bias: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift that do what a batch norm does with these statistics."""
    scale = weight / np.sqrt(variance + np.float32(resnet.EPSILON))
    return scale, bias - mean * scale


def _names(name: str) -> tuple[str, str]:
    """The convolution and its norm in torchvision's and timm's state dicts."""
    if name == "stem":
        return "conv1", "bn1"
    stage, block, place = name.split("_")
    layer = f"layer{stage}.{block}"
    if place == "skip":
        return f"{layer}.downsample.0", f"{layer}.downsample.1"
    return f"{layer}.conv{place}", f"{layer}.bn{place}"


def read_arrays(path: Path, field: str) -> Arrays:
    """The arrays of a .safetensors or .npz file by their names.

    Raises:
      UserError: the file is of neither format, or damaged.
    """
    if path.suffix not in (".safetensors", ".npz"):
        raise UserError(f"{field}: unknown format {path.suffix!r}; save the arrays as .safetensors or .npz")
    try:
        if path.suffix == ".safetensors":
            # Its own reader to NumPy has no bfloat16.
            return {
                name: np.frombuffer(about["data"], SAFETENSORS[about["dtype"]]).reshape(about["shape"])
                for name, about in safetensors.deserialize(path.read_bytes())
            }
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, LookupError, safetensors.SafetensorError, zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{field}: cannot be read as {path.suffix} ({error}); fetch or save it again") from error


def _words(path: Path, field: str, options: TextConfig, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Arrays, Report]:
    """Rows of the table of words; a row that no word of the file falls to is zero.

    The file's words are in the order of their frequency: of several that share a row the first counts, those in small
    letters before others, and not more words are read than there are rows.
    """
    words, vectors = _read_word2vec(path, field, options.buckets)
    if vectors.shape[1] != options.vectors:
        raise UserError(f"{field}: has vectors of {vectors.shape[1]}; set config.model.text.vectors={vectors.shape[1]}")
    table = np.zeros(shapes["table"], np.float32)
    filled, phrases, stopped, shared = set(), 0, 0, 0
    for i in sorted(range(len(words)), key=lambda i: words[i] != words[i].lower()):
        word = one_word(words[i])
        if not word or word.decode() in STOPWORDS:
            phrases, stopped = phrases + (not word), stopped + bool(word)
            continue
        row = hash_word(word) % options.buckets
        if row in filled:
            shared += 1
            continue
        filled.add(row)
        table[row] = vectors[i]
    if not filled:
        raise UserError(f"{field}: none of its {len(words)} entries is a word; give vectors of words")
    unused = [
        f"{count} {what}"
        for count, what in (
            (phrases, "entries that are not one word"),
            (stopped, "stop words"),
            (shared, "words whose row another has"),
        )
        if count
    ]
    return {"table": table}, {"unused": unused, "reshaped": [], "rows": len(filled), "words": len(words)}


def _read_word2vec(path: Path, field: str, limit: int) -> tuple[list[str], np.ndarray]:
    """The first words of a file in word2vec's binary (.bin) or text format (.txt, .vec), which may be gzipped."""
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind not in (".bin", ".txt", ".vec"):
        raise UserError(f"{field}: unknown format {path.suffix!r}; give word2vec's .bin, or .txt or .vec as text")
    try:
        from gensim.models import KeyedVectors
    except ImportError:
        raise UserError(f'{field}: reading it takes the library gensim: pip install -e ".[vectors]"') from None
    try:
        read = KeyedVectors.load_word2vec_format(
            str(path), binary=kind == ".bin", limit=limit, unicode_errors="replace", datatype=np.float32
        )
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{field}: cannot be read as word2vec's {kind} ({error}); fetch or save it again") from error
    return list(read.index_to_key), np.asarray(read.vectors, np.float32)
