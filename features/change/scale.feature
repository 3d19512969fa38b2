@local @commit
Feature: A group grows and shrinks
  Growing leaves the nodes that are there alone; shrinking takes the last ones, after their jobs.

  Background:
    Given the cluster that the notebooks 010 to 121 have built

  Scenario: From two nodes to three and back
    When the provider's listing is noted
    And "nodes: 2" becomes "nodes: 3" in the design
    And "clusterbook apply {cluster} --yes" runs
    Then it succeeds
    And the provider lists exactly what the design says
    And "master, c1, c2" are the same containers as noted
    And Slurm says that "c1, c2, c3" are idle, and knows no other node
    And every node gives the same answer to "id taro"
    When taro submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=3 --ntasks-per-node=1 --time=5
      srun hostname
      """
    Then the job is COMPLETED
    And its output is, in any order
      """
      c1
      c2
      c3
      """
    When "nodes: 3" becomes "nodes: 2" in the design
    And "clusterbook plan {cluster} --json" runs
    Then the plan removes nothing but "node c3"
    # Without a terminal nobody can be asked, so nothing is deleted.
    When "clusterbook apply {cluster}" runs
    Then it ends with exit code 2
    And the provider lists 4 running nodes, 1 disk and 1 network
    When "clusterbook apply {cluster} --yes" runs
    Then it succeeds
    And the provider's listing is as noted
    And Slurm says that "c1, c2" are idle, and knows no other node

  Scenario: From Python in one line
    When this Python program runs
      """
      import clusterbook as cb
      cluster = cb.open("{cluster}")
      cluster.scale("compute", 3)
      assert len(cluster.slurm.nodes()) == 3
      cluster.scale("compute", 2)
      assert len(cluster.slurm.nodes()) == 2
      """
    Then it succeeds
    And Slurm says that "c1, c2" are idle, and knows no other node
