@local @commit
Feature: Secrets stay secret
  The MUNGE key, the key that opens the nodes and the nodes' own keys are needed everywhere and shown nowhere.

  Background:
    Given the cluster that the notebooks 010 to 121 have built

  Scenario: Nothing secret is written down
    Then no secret of the cluster is in anything that the run has written, nor in the design
    And the files that hold secrets can be read by their owner only

  Scenario: Nothing secret is in anybody's process list
    Then no secret of the cluster was in the command line of any process while it was built

  Scenario: Nodes hold their own secrets only
    Then every node answers "ls /etc/ssh/ssh_host_*_key | wc -l" with "1"
    And every node answers "stat -c %U:%a /etc/munge/munge.key" with "munge:400"
    And every node gives the same answer to "sha256sum < /etc/munge/munge.key"
    And every node answers "test ! -e /root/.ssh/id_ed25519 && test ! -e /root/.ssh/id_rsa && echo none" with "none"
