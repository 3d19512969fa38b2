@local
Feature: Slurm gives GPUs out as GRES
  Notebook 032 looks at what nodes have, puts what groups should have into the design, and applies it. These nodes have no GPU, so theirs
  are counted only: everything but the device itself is real.

  @commit
  Scenario: 032 counts GPUs of a group, jobs get theirs, and they can be taken away again
    Given the cluster that the notebooks 010 to 121 have built
    When the times at which the nodes were started are noted
    And tmplrun runs notebook 032 with
      | group_gpus | {compute: "t4:2"} |
    Then it succeeds
    And the nodes were started at the times noted
    And the master answers "sinfo --noheader --format='%N %G'" with "c[1-2] gpu:t4:2"
    And Slurm says that "c1, c2" are idle, and knows no other node
    When taro submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=2 --ntasks-per-node=1 --gres=gpu:t4:2 --time=5
      srun bash -c 'echo $(hostname): GPUs $SLURM_STEP_GPUS, CUDA $CUDA_VISIBLE_DEVICES'
      """
    Then the job is COMPLETED
    And its output is, in any order
      """
      c1: GPUs 0,1, CUDA 0,1
      c2: GPUs 0,1, CUDA 0,1
      """
    When "clusterbook plan {cluster} --json" runs
    Then the plan is empty
    # What stands for a GPU goes missing: the node is repaired, also after Slurm has drained it.
    When somebody runs "rm /var/lib/clusterbook/gpu/gpu1; systemctl restart slurmd || true" on c2
    And "clusterbook apply {cluster} --yes" runs
    Then it succeeds
    And Slurm says that "c1, c2" are idle, and knows no other node
    When this Python program runs
      """
      import clusterbook as cb
      cb.open("{cluster}").slurm.submit("hostname", gpus="a100:1")
      """
    Then it ends with exit code 1
    And it says "partition compute has no GPUs of type a100, but t4"
    When tmplrun runs notebook 032 with
      | group_gpus | {compute: 0} |
    Then it succeeds
    And the master answers "sinfo --noheader --format=%G" with "(null)"
    And Slurm says that "c1, c2" are idle, and knows no other node
    When tmplrun runs notebook 032 with
      | job_group | compute |
    Then it ends with exit code 1
    And it says "group compute has no GPUs, so no job can get one there"
    When "clusterbook plan {cluster} --json" runs
    Then the plan is empty

  @nightly
  Scenario: The flow gpu, with groups of several kinds, names of a domain, and storage of others
    Given a new folder with the notebooks
    When tmplrun runs the flow "gpu" until 051 with
      | compute_nodes   | 1                                                                                 |
      | more_groups     | [{name: gpu, nodes: 1, gpus: "t4:1,a100:1"}, {name: late, nodes: 0, gpus: 8}]     |
      | more_partitions | [{name: gpu, groups: [gpu, late], cpus_per_gpu: 1}, {name: small, groups: [compute], default: true}] |
      | dns_domain      | hpc.example.org                                                                   |
      | more_storage    | [{name: data, source: "nas.example.org:/export/data"}]                            |
    Then it succeeds
    And the executed notebooks are "010, 020, 032, 051"
    Given the image archive "tiny" lies on the cluster as "/home/tiny.tar"
    And the image archive "pytorch" lies on the cluster as "/home/pytorch.tar"
    # These GPUs are only counted: no device is behind them, so the training does without.
    When tmplrun runs the flow "gpu" from 061 with
      | container_image | docker-archive:/home/tiny.tar    |
      | pytorch_image   | docker-archive:/home/pytorch.tar |
      | training_data   | digits                           |
    Then it succeeds
    And the executed notebooks are "061, 140, 141, 920"
    And the provider lists nothing of the cluster

  @commit
  Scenario: Domain, name servers and storage of others reach the nodes
    Given the design
      """
      schema: 1
      name: {cluster}
      network:
        dns_domain: hpc.example.org
        dns_forwarders: [192.0.2.53]
      master: {flavor: tiny}
      groups:
        - {name: gpu, nodes: 1, flavor: tiny, gpus: 2, features: [fast]}
      mounts:
        - {name: data, source: "nas.example.org:/export/data", mount: /data/shared}
      """
    When "clusterbook apply {cluster} --yes" runs
    Then it succeeds
    And the provider lists 2 running nodes, 2 disks and 1 network
    And every node answers "getent hosts gpu1.hpc.example.org | wc -l" with "1"
    And every node answers "grep -c '^nameserver 192.0.2.53$' /etc/resolv.conf" with "1"
    And every node answers "touch /data/shared/$(hostname).seen && sleep 1 && cd /data/shared && echo *" with "gpu1.seen master.seen"
    And the master answers "sinfo --noheader --format='%P %G %f'" with "compute* gpu:2 fast"
    When "clusterbook plan {cluster} --json" runs
    Then the plan is empty
