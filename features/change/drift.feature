@local @commit
Feature: What somebody changed on a node by hand is found and put right
  An administrator edits a file at night. The next plan shows it, and the next apply repairs it, and only it.

  Background:
    Given the cluster that the notebooks 010 to 121 have built

  Scenario: slurm.conf was edited on the master
    When somebody runs "sed -i s/ReturnToService=2/ReturnToService=0/ /etc/slurm/slurm.conf && scontrol reconfigure" on master
    And "clusterbook plan {cluster} --json" runs
    Then the plan has a change of "/etc/slurm/slurm.conf" on master
    When "clusterbook apply {cluster} --yes" runs
    Then it succeeds
    And Slurm's configuration has "ReturnToService = 2"
    When "clusterbook plan {cluster} --json" runs
    Then the plan is empty
    And Slurm says that "c1, c2" are idle, and knows no other node

  Scenario: A daemon was stopped on a node
    When somebody runs "systemctl stop slurmd" on c1
    And "clusterbook apply {cluster} --yes" runs
    Then it succeeds
    And Slurm says that "c1, c2" are idle, and knows no other node

  Scenario: A user was removed on one node
    When somebody runs "userdel taro" on c2
    And "clusterbook apply {cluster} --yes" runs
    Then it succeeds
    And every node gives the same answer to "id taro"
