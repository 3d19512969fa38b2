@local @commit
Feature: A cluster that is as designed is left alone
  Applying twice is the same as applying once.

  Background:
    Given the cluster that the notebooks 010 to 121 have built

  Scenario: Planning finds nothing, applying does nothing
    When "clusterbook plan {cluster} --json" runs
    Then the plan is empty
    When the times at which the nodes were started are noted
    And the answers of all nodes to "systemctl show -P ActiveEnterTimestampMonotonic munge slurmctld slurmd" are noted
    And "clusterbook apply {cluster} --yes" runs
    Then it succeeds
    And the nodes were started at the times noted
    And the answers of all nodes to "systemctl show -P ActiveEnterTimestampMonotonic munge slurmctld slurmd" are as noted

  Scenario: 020 again is harmless
    When the times at which the nodes were started are noted
    And tmplrun runs notebook 020
    Then it succeeds
    And the nodes were started at the times noted
    And Slurm says that "c1, c2" are idle, and knows no other node

  Scenario: 010 again keeps the users that 051 has added
    When the design file is noted
    And tmplrun runs notebook 010
    Then it succeeds
    And the design file is as noted

  Scenario: 010 again with other parameters does not replace the design by itself
    When the design file is noted
    And tmplrun runs notebook 010 with
      | compute_nodes | 3 |
    Then it ends with exit code 1
    And it says "describes something else"
    And the design file is as noted
