//! Every template and image recipe that is embedded, by name.
//!
//! A table rather than a folder walk at build time: a search for a file's name finds where it is used, and adding one is a line.

/// Templates of configuration files, by the name that [`crate::Renderer`] knows.
pub(crate) const TEMPLATES: &[(&str, &str)] = &[
    (
        "slurm/slurm.conf",
        include_str!("../../../templates/slurm/slurm.conf.j2"),
    ),
    (
        "slurm/cgroup.conf",
        include_str!("../../../templates/slurm/cgroup.conf.j2"),
    ),
    (
        "slurm/slurmdbd.conf",
        include_str!("../../../templates/slurm/slurmdbd.conf.j2"),
    ),
    (
        "slurm/slurmd.default",
        include_str!("../../../templates/slurm/slurmd.default.j2"),
    ),
    ("slurm/gres.conf", include_str!("../../../templates/slurm/gres.conf.j2")),
    (
        "slurm/resolv.conf",
        include_str!("../../../templates/slurm/resolv.conf.j2"),
    ),
    (
        "slurm/storage.mount",
        include_str!("../../../templates/slurm/storage.mount.j2"),
    ),
    ("slurm/hosts", include_str!("../../../templates/slurm/hosts.j2")),
];

/// Image recipes by distribution, each list in build order: a recipe after the one that it starts from.
pub(crate) const IMAGES: &[(&str, &[(&str, &str)])] = &[
    (
        "debian-13",
        &[
            ("common", include_str!("../../../templates/images/common.yaml")),
            ("apptainer", include_str!("../../../templates/images/apptainer.yaml")),
            ("master", include_str!("../../../templates/images/master.yaml")),
            ("podman", include_str!("../../../templates/images/podman.yaml")),
            ("compute", include_str!("../../../templates/images/compute.yaml")),
            (
                "nvidia-toolkit",
                include_str!("../../../templates/images/nvidia-toolkit.yaml"),
            ),
            (
                "compute-gpu",
                include_str!("../../../templates/images/compute-gpu.yaml"),
            ),
        ],
    ),
    (
        "rocky-9",
        &[
            ("common", include_str!("../../../templates/images/rocky-9/common.yaml")),
            (
                "apptainer",
                include_str!("../../../templates/images/rocky-9/apptainer.yaml"),
            ),
            ("master", include_str!("../../../templates/images/rocky-9/master.yaml")),
            ("podman", include_str!("../../../templates/images/rocky-9/podman.yaml")),
            (
                "compute",
                include_str!("../../../templates/images/rocky-9/compute.yaml"),
            ),
            (
                "nvidia-toolkit",
                include_str!("../../../templates/images/rocky-9/nvidia-toolkit.yaml"),
            ),
            (
                "compute-gpu",
                include_str!("../../../templates/images/rocky-9/compute-gpu.yaml"),
            ),
        ],
    ),
];

/// Files that recipes place or run, by the name that a recipe writes.
pub(crate) const IMAGE_FILES: &[(&str, &str)] = &[
    ("sshd.conf", include_str!("../../../templates/images/files/sshd.conf")),
    (
        "journald.conf",
        include_str!("../../../templates/images/files/journald.conf"),
    ),
    (
        "journald-master.conf",
        include_str!("../../../templates/images/files/journald-master.conf"),
    ),
    (
        "journal-flush.conf",
        include_str!("../../../templates/images/files/journal-flush.conf"),
    ),
    (
        "modulespath",
        include_str!("../../../templates/images/files/modulespath"),
    ),
    (
        "openmpi.lua",
        include_str!("../../../templates/images/files/openmpi.lua"),
    ),
    ("gnu.lua", include_str!("../../../templates/images/files/gnu.lua")),
    ("common.sh", include_str!("../../../templates/images/files/common.sh")),
    (
        "sshd-penalties.conf",
        include_str!("../../../templates/images/files/sshd-penalties.conf"),
    ),
    ("master.sh", include_str!("../../../templates/images/files/master.sh")),
    (
        "database.sh",
        include_str!("../../../templates/images/files/database.sh"),
    ),
    (
        "database-tables.sh",
        include_str!("../../../templates/images/files/database-tables.sh"),
    ),
    (
        "database-end.sh",
        include_str!("../../../templates/images/files/database-end.sh"),
    ),
    (
        "mariadb.cnf",
        include_str!("../../../templates/images/files/mariadb.cnf"),
    ),
    (
        "mariadb.service",
        include_str!("../../../templates/images/files/mariadb.service"),
    ),
    (
        "slurmdbd-ready.conf",
        include_str!("../../../templates/images/files/slurmdbd-ready.conf"),
    ),
    (
        "slurmd-wait.conf",
        include_str!("../../../templates/images/files/slurmd-wait.conf"),
    ),
    ("compute.sh", include_str!("../../../templates/images/files/compute.sh")),
    (
        "apptainer.sh",
        include_str!("../../../templates/images/files/apptainer.sh"),
    ),
    (
        "apptainer.lua",
        include_str!("../../../templates/images/files/apptainer.lua"),
    ),
    (
        "container-devices.service",
        include_str!("../../../templates/images/files/container-devices.service"),
    ),
    (
        "nvidia-cdi.service",
        include_str!("../../../templates/images/files/nvidia-cdi.service"),
    ),
    ("podman.sh", include_str!("../../../templates/images/files/podman.sh")),
    (
        "non-free.sh",
        include_str!("../../../templates/images/files/non-free.sh"),
    ),
    (
        "nvidia-toolkit.sh",
        include_str!("../../../templates/images/files/nvidia-toolkit.sh"),
    ),
    ("clean.sh", include_str!("../../../templates/images/files/clean.sh")),
    (
        "rocky-9/repositories.sh",
        include_str!("../../../templates/images/files/rocky-9/repositories.sh"),
    ),
    (
        "rocky-9/cuda.sh",
        include_str!("../../../templates/images/files/rocky-9/cuda.sh"),
    ),
    (
        "rocky-9/slurmctld.conf",
        include_str!("../../../templates/images/files/rocky-9/slurmctld.conf"),
    ),
    (
        "rocky-9/slurmd.conf",
        include_str!("../../../templates/images/files/rocky-9/slurmd.conf"),
    ),
    (
        "rocky-9/modules.sh",
        include_str!("../../../templates/images/files/rocky-9/modules.sh"),
    ),
    (
        "rocky-9/apptainer.sh",
        include_str!("../../../templates/images/files/rocky-9/apptainer.sh"),
    ),
    (
        "rocky-9/clean.sh",
        include_str!("../../../templates/images/files/rocky-9/clean.sh"),
    ),
    (
        "rocky-9/common.sh",
        include_str!("../../../templates/images/files/rocky-9/common.sh"),
    ),
    (
        "rocky-9/master.sh",
        include_str!("../../../templates/images/files/rocky-9/master.sh"),
    ),
    (
        "rocky-9/compute.sh",
        include_str!("../../../templates/images/files/rocky-9/compute.sh"),
    ),
];
