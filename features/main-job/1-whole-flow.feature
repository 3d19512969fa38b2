@local
Feature: One command builds a cluster, uses it and removes it
  Somebody who never saw Slurm's manual runs the notebooks 010, 020, 051, 121 and 920 as one flow. Afterwards they have executed
  notebooks, a report and Linpack's figures, and nothing is left on their machine.

  @commit
  Scenario: The flow main from 010 to 920
    Given a new folder with the notebooks
    When tmplrun runs the flow "main" with
      | compute_nodes | 2    |
      | problem_size  | 1000 |
    Then it succeeds
    And the executed notebooks are "010, 020, 051, 121, 920"
    And a report was written
    And notebook 121 handed on "passed" as "true"
    And notebook 121 handed on "linpack_n" as "1000"
    And notebook 121 handed on "gflops" as a number above 0
    And the provider lists nothing of the cluster
    And no process that was started here is left

  @nightly
  Scenario: The flow cpu, with settings of slurm.conf
    Given a new folder with the notebooks
    When tmplrun runs the flow "cpu" with
      | compute_nodes | 1                    |
      | problem_size  | 1000                 |
      | settings      | {MaxJobCount: 20000} |
    Then it succeeds
    And the executed notebooks are "010, 020, 031, 051, 121, 920"
    And the provider lists nothing of the cluster

  @nightly
  Scenario Outline: The flow full <times>, in two parts, because its images are put on the cluster in between
    Given a new folder with the notebooks
    When tmplrun runs <what> until 052 with
      | compute_nodes | <nodes>              |
      | settings      | {MaxJobCount: 20000} |
    Then it succeeds
    And the executed notebooks are "010, 020, 030, 031, 032, 051, 052"
    And every node answers "cat /etc/motd" with "Welcome."
    Given the image archive "tiny" lies on the cluster as "/home/tiny.tar"
    And the image archive "pytorch" lies on the cluster as "/home/pytorch.tar"
    And the image archive "tensorflow" lies on the cluster as "/home/tensorflow.tar"
    When tmplrun runs <what> from 061 with
      | problem_size     | 1000                                |
      | mib              | 16                                  |
      | repeats          | <repeats>                           |
      | container_image  | docker-archive:/home/tiny.tar       |
      | pytorch_image    | docker-archive:/home/pytorch.tar    |
      | tensorflow_image | docker-archive:/home/tensorflow.tar |
      | training_data    | digits                              |
    Then it succeeds
    And the executed notebooks are "061, 062, 071, 121, 122, 140, 141, 142, 151, 152, 160, 911, 912, 920"
    And the provider lists nothing of the cluster

    Examples:
      | times                 | what                                | nodes | repeats |
      | once                  | the flow "full"                     | 2     | 3       |
      | with every cell twice | every cell of the flow "full" twice | 1     | 1       |

  @commit
  Scenario: Every cell of the notebooks that describe, start and remove may be run twice
    Given a new folder with the notebooks
    When tmplrun runs every cell of the notebooks 010, 020, 920 twice with
      | compute_nodes  | 1    |
      | master_flavor  | tiny |
      | compute_flavor | tiny |
    Then it succeeds
    And the executed notebooks are "010, 020, 920"
    And the provider lists nothing of the cluster

  @commit
  Scenario: When a notebook in the middle fails, the cluster is still removed
    Given a new folder with the notebooks
    When tmplrun runs the flow "main" with
      | compute_nodes  | 1                        |
      | master_flavor  | tiny                     |
      | compute_flavor | tiny                     |
      | users          | [{name: Not A User}]     |
    Then it ends with exit code 1
    And it says "can't be a login name"
    And the executed notebooks are "010, 020, 920"
    And the provider lists nothing of the cluster
