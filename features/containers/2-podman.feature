@local
Feature: Users run containers on compute nodes
  Podman without root and without a daemon, each user with storage of their own on the node's disk.

  Background:
    Given the cluster that the notebooks 010 to 121 have built

  @nightly
  Scenario: 071: a container on every compute node, as an ordinary user
    Given the image archive "tiny" lies on the cluster as "/home/tiny.tar"
    When tmplrun runs notebook 071 with
      | container_image | docker-archive:/home/tiny.tar |
    Then it succeeds
    When taro submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=2 --ntasks-per-node=1 --time=5
      srun docker run --rm --volume "$HOME:$HOME" localhost/tiny sh -c "echo > $HOME/from-\$(hostname); echo \$(hostname) as \$(id -u)"
      """
    Then the job is COMPLETED
    And its output is, in any order
      """
      c1 as 0
      c2 as 0
      """
    And the master answers "cd /home/taro && stat -c %U from-c1 from-c2 | sort -u && rm from-c1 from-c2" with "taro"
    And the master answers "ls -d /home/taro/.local/share/containers/storage/overlay* 2>/dev/null || echo nothing" with "nothing"

  @nightly
  Scenario: An image that does not exist is an error that names it
    When tmplrun runs notebook 071 with
      | container_image | docker-archive:/home/missing.tar |
    Then it ends with exit code 1
    And it says "there is no image archive /home/missing.tar"
    When tmplrun runs notebook 071 with
      | container_image | docker://registry.invalid/missing:1 |
    Then it ends with exit code 1
    And it says "no image could be fetched from docker://registry.invalid/missing:1"
