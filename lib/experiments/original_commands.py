"""The published commands of the five original repositories, and what to run here instead.

Commands are facts of their READMEs; what differs is told in our settings. `params/COMMANDS.md` is
this table as a page.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from lib.core.errors import UserError

RUN = "python -m lib run "
ENOUGH = 0.34  # share of a question's words that a command must have to be an answer
SHOWN = 3  # answers at most
IGNORED = {"seed", "tag", "logdir", "wandb_proj_name", "wandb_group", "experiment_name"}


@dataclass(frozen=True)
class Original:
    """A published command.

    Args:
        command: as its README has it, names of folders shortened.
        ours: what does the same here; "" where nothing does yet.
        differs: what resolves to other values than there, or why nothing does.
    """

    command: str
    ours: str
    differs: str = ""


@dataclass(frozen=True)
class Repository:
    """An original repository with its commands."""

    name: str
    source: str
    note: str
    commands: tuple[Original, ...]


QUIRKS = (
    "ours zeroes the latent where a row of a batch begins, keeps Adam's moments at a boundary and "
    "evaluates 10 whole episodes; the file's comment has the published values"
)
RESERVOIR = "ours is a true reservoir (the published one: -p replay.retention=random-evict); "
DRAGO_DIFFERS = (
    "ours clamps continuous actions, bounds the count bonus and ends a task at its budget; "
    "'Where we differ' in lib/algos/tdmpc/agent.py has all"
)

DRAGO = Repository(
    "DRAGO",
    "arXiv 2503.04256",
    "Checkpoints are made without being asked for (`save_model`), films with `-p video=every` "
    "(`save_video`), Weights & Biases with `-p wandb=online` (`use_wandb`).",
    (
        Original(
            "python src/train.py env=minigrid domain=minigrid",
            f"{RUN}drago-grid-full",
            DRAGO_DIFFERS,
        ),
        Original(
            "python src/train.py env=minigrid domain=minigrid render_mode='human'",
            f"{RUN}drago-grid-full -p render=human",
            "the window shows evaluation episodes, not what is collected",
        ),
        Original(
            "python src/train.py env=dmcontrol domain=cheetah", f"{RUN}drago-cheetah", DRAGO_DIFFERS
        ),
        Original(
            "python src/train.py env=dmcontrol domain=walker",
            f"{RUN}drago-walker",
            "the tasks are those of the configuration (run, walk, walk backwards, stand); the "
            "README's text names run, run, stand, run backwards; " + DRAGO_DIFFERS,
        ),
        Original(
            "python src/train.py env=minigrid domain=minigrid ckpt=MODEL "
            "tasks=[MiniGrid-FourRooms-New] agent_poses=[[11,8]] goal_poses=[[14,9]]",
            f"{RUN}grid-transfer-1to2 -p load_from=FOLDER",
            "as in the authors' logged transfer run: no review, no rehearsal, no random warm-up; "
            "other poses: -p tasks=[{name: own, start: [11, 8], goal: [14, 9]}]",
        ),
        Original(
            "python src/train.py env=dmcontrol domain=cheetah ckpt=MODEL "
            "pre_rollout_ckpt=JUMP_MODEL tasks=[cheetah-run]",
            f"{RUN}cheetah-transfer-jump2run -p load_from=FOLDER -p pre_rollout=FOLDER",
            "200,000 environment steps, a tenth of the published; the first agent plans with its "
            "full horizon",
        ),
        Original(
            "python src/train.py env=dmcontrol domain=cheetah ckpt=MODEL "
            "tasks=[cheetah-jump-and-run]",
            f"{RUN}cheetah-transfer-jump-and-run -p load_from=FOLDER",
            "200,000 environment steps, a tenth of the published",
        ),
        Original(
            "python src/train.py env=dmcontrol domain=cheetah task_idx=1 ckpt=MODEL",
            f"{RUN}drago-cheetah -p start_at=cheetah-jump -p load_mode=world-model "
            "-p load_from=FOLDER",
            DRAGO_DIFFERS,
        ),
    ),
)

MINIGRID = "python train_minigrid.py --cl --num_tasks=3 --steps=750000 --del_exp_replay "
MINIHACK = (
    "python train_minihack.py --cl --cl_small --num_tasks=4 --steps=1000000 --del_exp_replay "
    "--minlen=5 --replay_capacity=1000000 "
)
EIGHT = (
    "python train_minihack.py --cl --num_tasks=8 --steps=1000000 --del_exp_replay --minlen=5 "
    "--replay_capacity=2000000 "
)
EXPLORE = "--plan2explore --expl_intr_scale=0.9 --expl_extr_scale=0.9"
HALF = "--plan2explore --expl_intr_scale=0.5 --expl_extr_scale=0.5"
INTERFERENCE = "python interference.py --cl --steps=1000000 --minlen=5 "
UNRELEASED = (
    "the script was never released: start, goals and seed are ours, and whether its layer norm, "
    "entropy 2e-3 and learning rates 1e-4 applied cannot be told; "
)

CONTINUAL_DREAMER = Repository(
    "Continual-Dreamer",
    "arXiv 2211.15944",
    "`--seed` is `-p seed=`; replays are deleted with a run (`--del_exp_replay`).",
    (
        Original(
            MINIGRID + "--sep_exp_eval_policies --minlen=5 --rssm_full_recon",
            f"{RUN}dreamer-minigrid3",
            "DoorKey-9x9 of the published registry is 8x8, and so named here; " + QUIRKS,
        ),
        Original(
            MINIGRID.replace("750000", "1000000")
            + "--sep_exp_eval_policies --minlen=5 --state_bonus --rssm_full_recon",
            f"{RUN}dreamer-visits-minigrid3",
            QUIRKS,
        ),
        Original(
            f"{MINIGRID}{EXPLORE} --minlen=50 --rssm_full_recon --sep_exp_eval_policies",
            f"{RUN}dreamer-p2e-minigrid3",
            "ours keeps episodes of 5 steps and more, where --minlen=50 drops every quick success; "
            + QUIRKS,
        ),
        Original(
            MINIHACK + "--sep_exp_eval_policies --rssm_full_recon",
            f"{RUN}dreamer-minihack4",
            QUIRKS,
        ),
        Original(MINIHACK + EXPLORE, f"{RUN}dreamer-p2e-pixels-minihack4", QUIRKS),
        Original(
            MINIHACK + "--sep_exp_eval_policies --reservoir_sampling",
            f"{RUN}continual-dreamer-minihack4",
            RESERVOIR + QUIRKS,
        ),
        Original(
            f"{MINIHACK}{EXPLORE} --reservoir_sampling",
            f"{RUN}continual-dreamer-p2e-pixels-minihack4",
            RESERVOIR + QUIRKS,
        ),
        Original(
            MINIHACK + "--sep_exp_eval_policies --reservoir_sampling --recent_past_sampl_thres=0.5",
            f"{RUN}continual-dreamer-recent-minihack4",
            RESERVOIR + QUIRKS,
        ),
        Original(
            MINIHACK + "--sep_exp_eval_policies --coverage_sampling",
            f"{RUN}dreamer-coverage-minihack4",
            QUIRKS,
        ),
        Original(
            MINIHACK + "--sep_exp_eval_policies --reward_sampling",
            f"{RUN}dreamer-reward-minihack4",
            QUIRKS,
        ),
        Original(EIGHT + "--sep_exp_eval_policies", f"{RUN}dreamer-minihack8", QUIRKS),
        Original(
            EIGHT + "--reservoir_sampling",
            f"{RUN}continual-dreamer-minihack8 -p explore.evaluate=acting",
            "called DV2 + p2e there, but it switches no exploration on; " + RESERVOIR + QUIRKS,
        ),
        Original(INTERFERENCE + "--num_tasks=2", f"{RUN}dreamer-interference", UNRELEASED + QUIRKS),
        Original(
            INTERFERENCE + "--num_tasks=1 --proc",
            f"{RUN}dreamer-interference-random",
            "ours goes on with the two interfering tasks; " + UNRELEASED + QUIRKS,
        ),
        Original(
            f"{INTERFERENCE}--num_tasks=2 {EXPLORE}",
            f"{RUN}dreamer-p2e-pixels-interference",
            UNRELEASED + QUIRKS,
        ),
        Original(
            f"{INTERFERENCE}--num_tasks=1 --proc {EXPLORE}",
            f"{RUN}dreamer-p2e-pixels-interference-random",
            "ours goes on with the two interfering tasks; " + UNRELEASED + QUIRKS,
        ),
        Original(
            f"{INTERFERENCE}--num_tasks=2 {HALF}",
            f"{RUN}dreamer-p2e-pixels-interference-half",
            UNRELEASED + QUIRKS,
        ),
        Original(
            f"{INTERFERENCE}--num_tasks=1 --proc {HALF}",
            f"{RUN}dreamer-p2e-pixels-interference-random-half",
            "ours goes on with the two interfering tasks; " + UNRELEASED + QUIRKS,
        ),
    ),
)

PIXELS = "python dreamerv2/train.py --logdir LOG --task "
PIXELS_DIFFER = (
    "single precision, float16 there (bf16 on CUDA: -p update.precision=bf16); the averaged "
    "encoder starts as a copy; seeds are read; evaluated at 0, 10,000, ... env steps; the best "
    "action is each row's own likeliest"
)
NATURAL_DIFFERS = (
    "backgrounds are generated, so that returns are not comparable, unless you have the films "
    "(-p env.background=folder:PATH); "
)

DREAMER_PRO = Repository(
    "DreamerPro and TPC",
    "arXiv 2110.14565",
    "Commands run in the folders DreamerPro, TPC and Dreamer. Another task: -p tasks=[cup_catch]. "
    "The layer `atari`, which their README calls untested, and its games are not reproduced.",
    (
        Original(
            "cd DreamerPro; " + PIXELS + "dmc_walker_run --configs defaults dmc norm_off",
            f"{RUN}dreamer-pro-dmc",
            PIXELS_DIFFER,
        ),
        Original(
            "cd DreamerPro; " + PIXELS + "nat_walker_run --configs defaults dmc reward_1000",
            f"{RUN}dreamer-pro-nat",
            NATURAL_DIFFERS + PIXELS_DIFFER,
        ),
        Original(
            "cd TPC; " + PIXELS + "dmc_walker_run --configs defaults dmc",
            f"{RUN}tpc-dmc",
            PIXELS_DIFFER,
        ),
        Original(
            "cd TPC; " + PIXELS + "nat_walker_run --configs defaults dmc reward_1000",
            f"{RUN}tpc-nat",
            NATURAL_DIFFERS + PIXELS_DIFFER,
        ),
        Original(
            "cd Dreamer; " + PIXELS + "dmc_walker_run --configs defaults dmc",
            f"{RUN}dreamer-dmc",
            PIXELS_DIFFER,
        ),
        Original(
            "cd Dreamer; "
            + PIXELS
            + "nat_walker_run --configs defaults dmc reward_1000 --precision 32",
            f"{RUN}dreamer-nat",
            NATURAL_DIFFERS + PIXELS_DIFFER,
        ),
        Original(
            "python download_videos.py",
            "",
            "nothing is downloaded here; put films of your own into a folder: "
            "-p env.background=folder:PATH",
        ),
    ),
)

V1_DIFFERS = (
    "single precision, float16 there; evaluated every 10,000 env steps, there after every episode; "
    "short episodes are padded, there never drawn; the released script "
)
MULTI_SOURCE = Repository(
    "Multi-source transfer",
    "arXiv 2205.14410",
    "Their names for our settings: `--task1` to `--task4` are `-p tasks=[A]`, several in turn "
    "`-p tasks=[{name: sources, turns: [A, B]}]`, so that `--envs` goes without saying; `--steps` "
    "is `-p env_steps_per_task=`, of all tasks together; `--transfer True` is `-p load_mode=parts "
    "-p load_from=FOLDER` in place of a copied variables.pkl, `--transfer_factor` is `-p "
    "transfer.omega=`, `--pad` is `-p env.min_actions=8`; `--meta1` to `--meta4` are `-p "
    "meta.rewards=[FOLDER, FOLDER]`, which `--n_meta` counts, and the stored autoencoder is `-p "
    "meta.autoencoder=FOLDER`; without `--dec` the second stage has `-p meta.freeze_decoder=true`; "
    "`--xaxis`, `--yaxis` and `--bins` are curves of env steps and returns in `python -m lib "
    "compare`. Tasks go by the same names, with BulletEnv-v0 or without. Their comparison, sources "
    "first and every arm with several seeds, is one command here: `python -m lib transfer "
    "dreamer-v1-sources`, and those beside it in params/studies/.",
    (
        Original(
            "python dreamer-multi-task.py --task1 HopperBulletEnv-v0 --task2 AntBulletEnv-v0 "
            "--task3 HalfCheetahBulletEnv-v0 --batch_length 50 --envs 3 --steps 2e6",
            f"{RUN}dreamer-v1-sources-published",
            V1_DIFFERS + "cannot run: environments are not registered and an option is missing",
        ),
        Original(
            "python dreamer-FTL.py --task1 HalfCheetahBulletEnv-v0 --batch_length 50 --envs 1 "
            "--steps 1e6 --transfer True --transfer_factor 0.2",
            f"{RUN}dreamer-v1-sources-ftl",
            "from Ant and Walker2D, so that the target is not among its sources; literally: "
            "-p load_from=outputs/dreamer-v1-sources-published-s0; "
            + V1_DIFFERS
            + "takes parts after an update, and its counters too",
        ),
        Original(
            "python dreamer-MMTL.py --task1 HopperBulletEnv-v0 --n_meta 2 "
            "--meta1 HalfCheetahBulletEnv-v0 --meta2 AntBulletEnv-v0 --batch_length 50 --envs 1 "
            "--steps 1e6",
            f"{RUN}dreamer-v1-sources-mmtl",
            "after dreamer-v1-sources-hopper, -reward-cheetah and -reward-ant; "
            + V1_DIFFERS
            + "leaves the sources' predictions out, as -p meta.use_sources=false",
        ),
        Original(
            "agent.load(variables.pkl); agent.save_single(agent._encode, stored_ae/encoder.pkl)",
            "python -m lib export RUN --part autoencoder",
            "by hand there; settings such as meta.autoencoder take run folders as well",
        ),
        Original(
            "agent.save_single(agent._reward, stored_rews_ae/HalfCheetahBulletEnv-v0.pkl)",
            "python -m lib export RUN --part reward",
            "by hand there; settings such as meta.rewards take run folders as well",
        ),
        Original(
            "python3 dreamer.py --logdir LOG --task dmc_walker_walk",
            f"{RUN}dreamer-v1-dmc -p tasks=[walker_walk] -p env_steps_per_task=5000000",
            "single precision, float16 there; prefill and pretraining are DreamerV2's; one update "
            "of three networks where the original updates each from the same older ones",
        ),
        Original(
            "python3 plotting.py --indir LOG --outdir PLOTS --xaxis step --yaxis test/return "
            "--bins 3e4",
            "python -m lib compare",
            "a notebook with curves, intervals and tables over all finished runs, among them the "
            "authors' two measures, overall and over the last tenth of the evaluations",
        ),
        Original(
            "tensorboard --logdir LOG",
            "tensorboard --logdir outputs",
            "for runs with -p tensorboard=true",
        ),
    ),
)

MAIN = "python main.py -m experiment_name=NAME seed=42,43,44 "
CW10 = (
    "env_params.eval_env_names=cw10_v2 run_params=finetune_coff eval_params=finetune_md_cl "
    "agent_params=cdt_mpdt_disc +agent_params.steps_per_task=100000 "
    "agent_params/model_kwargs=mdmpdt_mtdmc agent_params/data_paths=cw10_v2_cwnet_2M "
    "+agent_params/replay_buffer_kwargs=mtdmc_ft +agent_params.replay_buffer_kwargs.kind=continual "
)
NO_FILES = (
    "needs files of experience of the published size, which are not here (python -m lib data says "
    "what can be made), and a GPU; small: "
)
FROM = "-p load_mode=world-model -p load_from=FOLDER"
SEEDS = "-p seeds=42,43,44"
DECISION_TRANSFORMERS = Repository(
    "MDDT, LoRA, L2M, HiDe-LoRA",
    "arXiv 2306.14884",
    "`FOLDER` is the run of the first command, or its checkpoint. Commands named cw10_cl are of a "
    "fork (chufanchen/MDDT) of L2M's code. Without a GPU: every method has a small form, such as "
    f"`{RUN}dt-lora-point-mass-quick`, after `python -m lib data make point-mass`.",
    (
        Original(
            MAIN + "env_params=multi_domain_mtdmc run_params=pretrain eval_params=pretrain_disc "
            "agent_params=cdt_pretrain_disc agent_params.kind=MDDT "
            "agent_params/model_kwargs=multi_domain_mtdmc agent_params/data_paths=mt40v2_dmc10 "
            "+agent_params/replay_buffer_kwargs=multi_domain_mtdmc "
            "+agent_params.accumulation_steps=2",
            f"{RUN}dt-full-mt40-dmc10 {SEEDS}",
            NO_FILES
            + "dt-full-point-mass-quick; an update is a step of the optimiser (two batches)",
        ),
        Original(
            MAIN + "env_params=mt50_pretrain run_params=finetune eval_params=finetune "
            "agent_params=cdt_mpdt_disc agent_params/model_kwargs=mdmpdt_mtdmc "
            "agent_params/data_paths=cw10_v2_cwnet_2M +agent_params/replay_buffer_kwargs=mtdmc_ft "
            "agent_params/model_kwargs/prompt_kwargs=lora env_params.envid=hammer-v2",
            f"{RUN}dt-lora-cw10 -p tasks=[hammer] {FROM} {SEEDS}",
            NO_FILES + "dt-lora-point-mass-quick; Meta-World's tasks are v3 here",
        ),
        Original(
            MAIN
            + "env_params=multi_domain_ft "
            + CW10
            + "agent_params/model_kwargs/prompt_kwargs=l2m_lora",
            f"{RUN}dt-l2m-cw10 {FROM} {SEEDS}",
            NO_FILES + "dt-l2m-point-mass-quick; members of the pool are tensors of their own",
        ),
        Original(
            "python main.py -m experiment_name=cw10_cl_tii run_params=finetune_tii "
            "agent_params=cdt_tii_mpdt_disc agent_params/model_kwargs=mdmpdt_mtdmc_tii "
            "+agent_params.steps_per_task=10000",
            f"{RUN}dt-hide-lora-head-cw10 {FROM} {SEEDS}",
            NO_FILES + "dt-hide-lora-head-point-mass-quick; no stage of its own: the classifier is "
            "fitted anew to samples of all tasks when one begins, since real batches of one carry "
            "one label",
        ),
        Original(
            "python main.py -m experiment_name=cw10_cl_hide_lora run_params=finetune_coff "
            "agent_params=cdt_mpdt_disc agent_params/model_kwargs/prompt_kwargs=hide_lora "
            "+agent_params.steps_per_task=100",
            f"{RUN}dt-hide-lora-cw10 {FROM} {SEEDS}",
            NO_FILES + "dt-hide-lora-point-mass-quick; 100,000 updates a task, 100 there, which "
            "leaves the pool after ten; nobody tells the task (there: dt-hide-lora-oracle)",
        ),
        Original(
            "python main.py -m hydra/launcher=torchrun hydra.launcher.nproc_per_node=4",
            "torchrun --nproc-per-node 4 -m lib run dt-full-mt40-dmc10",
            "with any command of this family; batches stay as large as one process has them, each "
            "process learns from its share; on several machines one torchrun on each, with "
            "--nnodes and --rdzv-endpoint; needs files of experience and GPUs, as above",
        ),
    ),
)

# What nothing here reproduces: patterns of a command's words, and what is said instead.
BEYOND = {
    r"(.*[=,])?atari(_\w+)?": "DreamerPro's layer 'atari' and its games are not reproduced: their "
    "README calls it untested, and no result was published; run the layer 'dmc' instead, on "
    f"dm_control, such as '{RUN}dreamer-pro-dmc' (tpc-dmc, dreamer-dmc)",
}

REPOSITORIES = (DRAGO, CONTINUAL_DREAMER, DREAMER_PRO, MULTI_SOURCE, DECISION_TRANSFORMERS)


# Looking up ---------------------------------------------------------------------------------


def find(question: str) -> list[tuple[Repository, Original]]:
    """Returns the published commands that a question's words fit best, the best ones first.

    Args:
        question: a published command, or parts of one. Its script counts most; names of folders,
            seeds and projects do not count.

    Raises:
        UserError: no command is like it, nothing here reproduces it, or nothing was asked.
    """
    asked = _words(question)
    if not asked:
        raise UserError(
            "a published command or a part of it is needed, such as "
            "'train_minigrid.py --cl --plan2explore'"
        )
    for pattern, instead in BEYOND.items():
        if any(re.fullmatch(pattern, word) for word in asked):
            raise UserError(instead)
    scored = []
    for repository in REPOSITORIES:
        for original in repository.commands:
            theirs = _words(original.command)
            weights = {word: _weight(word) for word in asked | theirs}
            common = sum(weights[word] for word in asked & theirs)
            if common / sum(weights[word] for word in asked) >= ENOUGH:
                extra = sum(weights[word] for word in theirs - asked)
                scored.append((common - 0.1 * extra, repository, original))
    if not scored:
        scripts = sorted({w for w in _all_words() if w.endswith(".py")})
        raise UserError(
            f"no published command is like {question!r}; known scripts: {', '.join(scripts)}; all "
            "commands are in params/COMMANDS.md"
        )
    best = sorted(scored, key=lambda row: -row[0])
    least = best[0][0] * 0.8
    return [(repository, original) for score, repository, original in best if score >= least][
        :SHOWN
    ]


def _words(command: str) -> frozenset[str]:
    """Returns what tells a command from others: its script, its flags and its settings."""
    try:
        parts = shlex.split(command.replace("…", " ").replace("...", " "))
    except ValueError:  # a quotation mark without its partner
        parts = command.split()
    words, flag = set(), ""
    for part in parts:
        part = part.strip(";'\"")
        if flag and not part.startswith("-") and "=" not in part and not part.endswith(".py"):
            words.add(f"{flag}={part}")
            words.discard(flag)
            flag = ""
            continue
        name = part.lstrip("-+")
        flag = name if part.startswith("--") and "=" not in name else ""
        if part.endswith(".py"):
            words.add(part.rsplit("/", 1)[-1])
        elif name not in ("python", "python3", "m", "cd", "") and name.split("=")[0] not in IGNORED:
            words.add(name)
    return frozenset(word for word in words if word.split("=")[0] not in IGNORED)


def _weight(word: str) -> float:
    return 3.0 if word.endswith(".py") else 1.0


def _all_words() -> Iterator[str]:
    for repository in REPOSITORIES:
        for original in repository.commands:
            yield from _words(original.command)


def told(repository: Repository, original: Original) -> str:
    """Returns a published command with ours and what differs, as text."""
    ours = original.ours or original.differs
    lines = [
        f"{repository.name} ({repository.source})",
        f"  published: {original.command}",
        f"  here:      {ours}",
    ]
    if original.ours and original.differs:
        lines.append(f"  differs:   {original.differs}")
    return "\n".join(lines)


def page() -> str:
    """Returns `params/COMMANDS.md`."""
    lines = [
        "# The originals' commands",
        "",
        "Every command of the five original READMEs, and what to run here instead. To find yours:",
        "",
        "```",
        'python -m lib find "train_minigrid.py --cl --plan2explore"',
        "```",
        "",
        "Ours are the published settings unless the last column says otherwise. Names of folders,",
        "seeds and projects are left out.",
    ]
    for repository in REPOSITORIES:
        lines += ["", f"## {repository.name} ({repository.source})", ""]
        lines += [repository.note, ""] if repository.note else []
        lines += ["| published | here | differs |", "|:--|:--|:--|"]
        for original in repository.commands:
            ours = f"`{original.ours}`" if original.ours else original.differs
            differs = original.differs if original.ours else ""
            lines.append(f"| `{_cell(original.command)}` | {_cell(ours)} | {_cell(differs)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", r"\|")
