"""Data files: what is read is what was meant, and what is missing or damaged is named with its remedy."""

import gzip
import http.server
import threading
import time

import numpy as np
import pytest
import torch
from scipy.io import savemat

from experiments.data import File, digits, idx_images, mnist_subset, omniglot
from experiments.data.download import fetch
from experiments.data.idx import LABELS, read_idx, write_idx
from experiments.data.images import binarise
from experiments.data.omniglot import git_blob
from experiments.errors import UserError


@pytest.fixture
def dataset(tmp_path):
    """A folder with two idx files, their descriptions, and their images."""
    parts = [torch.randint(256, (count, 4, 3), dtype=torch.uint8) for count in (7, 5)]
    names = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
    folder = tmp_path / "served"
    folder.mkdir()
    files = [File(n, write_idx(folder / f"{n}.gz", p)) for n, p in zip(names, parts, strict=True)]
    return folder, files, parts


def test_the_embedded_subset_is_mnist():
    """Its hash is checked at every load; here its shape, range and a rough look."""
    images = mnist_subset()
    assert images.train.shape == (10_000, 784)
    assert images.test.shape == (2_000, 784)
    assert images.shape == (28, 28)
    assert images.train.min() == 0
    assert images.train.max() == 1
    assert 0.12 < images.train.mean() < 0.14
    assert images.train[:, :28].mean() < 0.001  # the first row is margin


@pytest.mark.parametrize("load", [mnist_subset, digits])
def test_labels_are_those_of_the_images(load):
    """The mean of a class is nearest to most of its test images; asked for, they change nothing else."""
    images = load(labels=True)
    train, test, classes = images.labels
    assert (len(train), len(test), len(classes)) == (len(images.train), len(images.test), 10)
    means = torch.stack([images.train[train == n].mean(0) for n in range(10)])
    assert (torch.cdist(images.test, means).argmin(1) == test).double().mean() > 0.75
    assert torch.equal(images.train, load().train)
    assert load().labels is None


def test_labels_are_held_out_with_their_images():
    images, whole = digits(held_out=100, labels=True), digits(labels=True)
    assert torch.equal(images.labels.test, whole.labels.train[-100:])
    assert torch.equal(images.labels.train, whole.labels.train[:-100])


def test_labels_that_nobody_knows_are_refused(dataset):
    folder, files, _ = dataset
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte has no labels that are known here"):
        idx_images("toy", *files, root=str(folder), labels=True)


def test_files_of_labels_are_read_and_checked(tmp_path):
    labels = torch.tensor([3, 1, 4], dtype=torch.uint8)
    path = tmp_path / "labels.gz"
    sha256 = write_idx(path, labels)
    assert torch.equal(read_idx(path, sha256, LABELS), labels)
    with pytest.raises(UserError, match="is not an idx file of images"):
        read_idx(path, sha256)
    path.write_bytes(gzip.decompress(path.read_bytes())[:-1])
    with pytest.raises(UserError, match="says it holds 3 labels but has another size"):
        read_idx(path, sha256, LABELS)


def test_digits_come_with_scikit_learn():
    images = digits()
    assert images.train.shape == (1500, 64)
    assert images.test.shape == (297, 64)
    assert images.train.max() == 1


@pytest.mark.parametrize("plain", [False, True])
def test_files_at_hand_are_used(dataset, plain):
    folder, files, parts = dataset
    if plain:
        for file in files:
            path = folder / f"{file.name}.gz"
            (folder / file.name).write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    images = idx_images("toy", *files, root=str(folder))
    assert torch.equal(images.train, parts[0].flatten(1).float() / 255)
    assert torch.equal(images.test, parts[1].flatten(1).float() / 255)


@pytest.mark.parametrize("held_out", [2, 6])
def test_held_out_images_are_the_last_to_train_on(dataset, held_out):
    folder, files, parts = dataset
    images = idx_images("toy", *files, root=str(folder), held_out=held_out)
    whole = parts[0].flatten(1).float() / 255
    assert torch.equal(images.train, whole[:-held_out])
    assert torch.equal(images.test, whole[-held_out:])


@pytest.mark.parametrize(
    ("held_out", "match"),
    [(7, "leaves none of the 7"), (-1, r"data\.held_out must be"), (0.5, r"data\.held_out must be")],
)
def test_no_more_can_be_held_out_than_leaves_some_to_train_on(dataset, held_out, match):
    folder, files, _ = dataset
    with pytest.raises(UserError, match=match):
        idx_images("toy", *files, root=str(folder), held_out=held_out)


def test_every_data_set_can_hold_out_images():
    assert digits(held_out=100).test.shape == (100, 64)
    assert mnist_subset(held_out=100).train.shape == (9_900, 784)


def test_a_missing_file_is_named(dataset):
    folder, files, _ = dataset
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(UserError, match=r"holds neither t10k-images-idx3-ubyte nor .*data\.root=FOLDER"):
        idx_images("toy", *files, root=str(folder))


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda content: content[: len(content) // 2], "damaged or cut off"),
        (lambda content: b"no gzip at all", "not an idx file of images"),
        (lambda content: gzip.compress(b"something else entirely"), "not an idx file of images"),
        (lambda content: gzip.compress(gzip.decompress(content)[:-1]), "another size"),
        (lambda content: gzip.compress(gzip.decompress(content)[:-1] + b"!"), "another SHA-256"),
    ],
)
def test_a_damaged_file_is_named(dataset, damage, match):
    folder, files, _ = dataset
    path = folder / f"{files[0].name}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=match) as error:
        read_idx(path, files[0].sha256)
    assert str(path) in str(error.value)
    assert "delete it" in str(error.value)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one folder; resumes if told so, and breaks off after so many bytes if told so."""

    folder, resumes, break_after, requests = None, True, None, []

    def do_GET(self):
        content = (self.folder / self.path.lstrip("/")).read_bytes()
        Handler.requests.append(self.headers.get("Range"))
        start = 0
        if self.resumes and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.break_after])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(dataset):
    Handler.folder, Handler.resumes, Handler.break_after, Handler.requests = dataset[0], True, None, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}/"
        httpd.shutdown()
        thread.join()


def test_a_download_is_checked_and_cached(dataset, server, tmp_path):
    _, files, parts = dataset
    for _ in range(2):
        images = idx_images("toy", *files, url=server, cache=str(tmp_path / "cache"))
        assert torch.equal(images.test, parts[1].flatten(1).float() / 255)
    assert Handler.requests == [None, None]
    names = sorted(p.name for p in (tmp_path / "cache" / "toy").iterdir())
    assert names == sorted(f"{file.name}.gz" for file in files)


@pytest.mark.parametrize("resumes", [True, False])
def test_a_download_that_broke_off_goes_on(dataset, server, tmp_path, resumes):
    folder, files, _ = dataset
    name = f"{files[0].name}.gz"
    path = tmp_path / name
    Handler.resumes, Handler.break_after = resumes, 20
    with pytest.raises(UserError, match="broke off after 20 of"):
        fetch(server + name, path, lambda part: None, "do something.")
    assert not path.exists()
    Handler.break_after = None
    fetch(server + name, path, lambda part: None, "do something.")
    assert path.read_bytes() == (folder / name).read_bytes()
    assert Handler.requests == [None, "bytes=20-"]
    assert [p.name for p in tmp_path.glob("*.part")] == []


def test_what_many_ask_for_at_once_is_downloaded_once(dataset, server, tmp_path):
    folder, files, _ = dataset
    name = f"{files[0].name}.gz"
    arguments = (server + name, tmp_path / name, lambda part: time.sleep(0.2), "do something.")
    askers = [threading.Thread(target=fetch, args=arguments) for _ in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert Handler.requests == [None]


def test_a_download_that_had_all_arrived_is_taken(dataset, server, tmp_path):
    folder, files, _ = dataset
    name = f"{files[0].name}.gz"
    (tmp_path / f"{name}.part").write_bytes((folder / name).read_bytes())
    fetch(server + name, tmp_path / name, lambda part: None, "do something.")
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_something_else_than_the_file_is_not_kept(dataset, server, tmp_path):
    """Such as the login page of a network."""
    folder, files, _ = dataset
    right = (folder / f"{files[0].name}.gz").read_bytes()
    (folder / f"{files[0].name}.gz").write_text("<html>please log in</html>")
    with pytest.raises(UserError, match=r"is not what it should be .*data\.root=FOLDER"):
        idx_images("toy", *files, url=server, cache=str(tmp_path / "cache"))
    assert list((tmp_path / "cache" / "toy").iterdir()) == []
    (folder / f"{files[0].name}.gz").write_bytes(right)
    idx_images("toy", *files, url=server, cache=str(tmp_path / "cache"))


def test_an_unreachable_server_is_named_with_the_remedy(tmp_path):
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/x.gz cannot be downloaded .*do something"):
        fetch("http://127.0.0.1:9/x.gz", tmp_path / "x.gz", lambda part: None, "do something.")


def test_binarise_draws_pixels_by_their_grey():
    grey = torch.tensor([0.0, 0.25, 1.0]).expand(40_000, 3)
    drawn = binarise(grey, torch.Generator().manual_seed(0))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert (drawn[:, 0] == 0).all()
    assert (drawn[:, 2] == 1).all()
    assert abs(drawn[:, 1].mean() - 0.25) < 6 * (0.25 * 0.75 / 40_000) ** 0.5


@pytest.fixture
def characters(tmp_path):
    """A folder with a file in the form of Omniglot's, its name in git, and its images as they look."""
    generator = np.random.default_rng(0)
    train, test = (generator.random((count, 28, 28)).astype(np.float32) for count in (7, 5))
    columns = {name: part.transpose(2, 1, 0).reshape(784, -1) for name, part in (("data", train), ("testdata", test))}
    path = tmp_path / "characters" / "chardata.mat"
    path.parent.mkdir()
    savemat(path, columns | {"target": np.zeros((50, 7))}, do_compression=True)
    return path, git_blob(path.read_bytes()), train, test


def test_omniglot_s_images_stand_upright(characters):
    path, blob, train, test = characters
    images = omniglot(blob, root=str(path.parent), held_out=2)
    assert images.shape == (28, 28) and images.train.dtype == torch.float32
    assert torch.equal(images.train, torch.from_numpy(train[:5]).flatten(1))
    assert torch.equal(images.test, torch.from_numpy(train[5:]).flatten(1))
    assert torch.equal(omniglot(blob, root=str(path.parent)).test, torch.from_numpy(test).flatten(1))


def test_the_name_in_git_is_git_s():
    """Of the line "hello", by `git hash-object`."""
    assert git_blob(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


@pytest.mark.parametrize(
    "damage", [lambda c: c[: len(c) // 2], lambda c: c[:-1] + b"!", lambda c: b"<html>", lambda c: b""]
)
def test_a_damaged_omniglot_is_named(characters, damage):
    path, blob, _, _ = characters
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"chardata\.mat is cut off or not the file .*; delete it") as error:
        omniglot(blob, root=str(path.parent))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"data": np.zeros((784, 3))}, "does not hold data and testdata"),
        ({"data": np.zeros((3, 784)), "testdata": np.zeros((2, 784))}, "784 pixels a column"),
        (None, "not a file of MATLAB that scipy can read"),
    ],
)
def test_another_file_than_omniglot_s_is_named(tmp_path, content, match):
    """Even where its name in git is given."""
    path = tmp_path / "chardata.mat"
    if content is None:
        path.write_bytes(b"no such format" * 20)
    else:
        savemat(path, content)
    with pytest.raises(UserError, match=match):
        omniglot(git_blob(path.read_bytes()), root=str(tmp_path))


def test_omniglot_is_downloaded_once_and_found_missing(characters, server, tmp_path):
    path, blob, train, _ = characters
    Handler.folder = path.parent
    for _ in range(2):
        images = omniglot(blob, url=server, cache=str(tmp_path / "cache"))
        assert torch.equal(images.train, torch.from_numpy(train).flatten(1))
    assert Handler.requests == [None]
    with pytest.raises(UserError, match=r"holds no chardata\.mat; .*data\.root=FOLDER"):
        omniglot(blob, root=str(tmp_path))
    with pytest.raises(UserError, match=r"is not what it should be .*cut off or not the file.*data\.root=FOLDER"):
        omniglot("0" * 40, url=server, cache=str(tmp_path / "other"))
