# SPDX-License-Identifier: Apache-2.0
"""The launcher's environment: made, taken up again, repaired; failures in one sentence."""

import ast
import subprocess
import sys

import environment
import protome
import pytest
from environment import ROOT, SetupError, environment_python, find_python, is_ready, make_environment, mark_ready


def quiet(fraction, text):
    pass


@pytest.fixture
def requirements(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("# nothing\n")
    return [path]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("with a blank and an ü")
    requirements = folder / "requirements.txt"
    requirements.write_text("# nothing\n")
    said = []
    make_environment(folder / "env", [requirements], lambda *line: said.append(line), imports="json pip")
    mark_ready(folder / "env", [requirements])
    return folder / "env", [requirements], said


def test_an_environment_is_made_and_its_python_runs_in_it(finished):
    folder, requirements, said = finished
    prefix = subprocess.run(
        [environment_python(folder), "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True
    )
    assert prefix.stdout.strip() == str(folder)
    assert is_ready(folder, requirements)
    assert said[0][1].startswith("Making a Python environment")


def test_changed_requirements_make_it_unready(finished, tmp_path):
    folder, requirements, _ = finished
    changed = tmp_path / "requirements.txt"
    changed.write_text("# something else\n")
    assert not is_ready(folder, [changed])
    assert is_ready(folder, requirements)


def test_an_environment_that_lost_its_python_is_made_again(tmp_path, requirements):
    folder = tmp_path / "env"
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text("home = /nowhere\n")
    (folder / "half-made").touch()
    python = make_environment(folder, requirements, quiet)
    assert subprocess.run([python, "-c", ""]).returncode == 0
    assert not (folder / "half-made").exists()


def test_an_interrupted_set_up_is_not_ready(tmp_path, requirements, monkeypatch):
    class Interrupted(Exception):
        pass

    def interrupt(folder, requirements, say):
        raise Interrupted

    monkeypatch.setattr(environment, "_install", interrupt)
    monkeypatch.setattr(environment, "_create", lambda folder, command, say: None)
    with pytest.raises(Interrupted):
        make_environment(tmp_path / "env", requirements, quiet)
    assert not is_ready(tmp_path / "env", requirements)


def test_a_folder_with_other_files_is_left_alone(tmp_path, requirements):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.txt").write_text("dear")
    with pytest.raises(SetupError, match="holds other files"):
        make_environment(folder, requirements, quiet)
    assert (folder / "chapter1.txt").read_text() == "dear"


def test_without_a_network_one_sentence_says_so(finished, tmp_path, monkeypatch):
    folder, _, _ = finished
    wanted = tmp_path / "wanted.txt"
    wanted.write_text("protome-nowhere==1.0\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(SetupError, match=r"index cannot be reached.*goes on where it stopped"):
        make_environment(folder, [wanted], quiet)


def test_packages_that_do_not_load_are_named(finished, monkeypatch):
    folder, requirements, _ = finished
    monkeypatch.setattr(environment, "_create", lambda folder, command, say: None)
    with pytest.raises(SetupError, match="no_such_module_anywhere"):
        make_environment(folder, requirements, quiet, imports="no_such_module_anywhere")


def test_this_python_is_preferred_and_an_unknown_one_refused():
    current = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert find_python((current, "3.99")) == [sys.executable]
    with pytest.raises(SetupError, match=r"needs Python 3\.98"):
        find_python(("3.98",))


def test_an_old_python_can_read_the_launcher_far_enough_to_say_it_is_too_old():
    source = (ROOT / "scripts" / "protome.py").read_text(encoding="utf-8")
    assert ast.parse(source, feature_version=(3, 7)).body


def test_blenders_python_variables_do_not_reach_the_environment(monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/blender/python")
    monkeypatch.setenv("PYTHONPATH", "/blender/scripts")
    assert not {"PYTHONHOME", "PYTHONPATH"} & set(environment.child_environ())


def test_the_launcher_explains_itself_without_setting_up(capsys):
    assert protome.main(["--help"]) == 0
    assert "usage" in capsys.readouterr().out
    assert protome.main([]) == 2


def test_progress_never_falls(capsys):
    say = protome.say_to(sys.stdout)
    say(0.5, "half")
    say(-1.0, "still working")
    assert capsys.readouterr().out.splitlines() == [
        "protome-setup: 0.50 half",
        "protome-setup: 0.50 still working",
    ]
