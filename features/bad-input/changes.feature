@local @commit
Feature: A change that would do harm is refused, and nothing is changed
  The message says what would have happened and what to do instead.

  Background:
    Given the cluster that the notebooks 010 to 121 have built

  Scenario: The master is neither scaled away nor given another name
    When this Python program runs
      """
      import clusterbook as cb
      cb.open("{cluster}").scale("master", 0)
      """
    Then it ends with exit code 1
    And it says "can't be scaled or removed: a cluster has exactly one"
    When "host: master" becomes "host: head" in the design
    And "clusterbook apply {cluster} --yes" runs
    Then it ends with exit code 2
    And it says "the master master of cluster {cluster} can't be removed while the cluster lives"
    And the provider lists 3 running nodes, 1 disk and 1 network

  Scenario: 051 gets a private key with a passphrase in place of a public one
    Given the file "id_ed25519"
      """
      -----BEGIN OPENSSH PRIVATE KEY-----
      b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABBub3QtYS1yZWFs
      -----END OPENSSH PRIVATE KEY-----
      """
    When the design file is noted
    And tmplrun runs notebook 051 with
      | users               | [{name: hanako}] |
      | ssh_public_key_file | id_ed25519       |
    Then it ends with exit code 1
    And it says "this is a private key, with a passphrase"
    And it says "write the line of the .pub file beside it"
    And it does not say "b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0"
    And the design file is as noted

  Scenario: Files that follow from other parameters name these
    When tmplrun runs notebook 030 with
      | path    | /etc/slurm/slurm.conf |
      | nodes   | master                |
      | content | MaxJobCount=1         |
    Then it ends with exit code 1
    And it says "/etc/slurm/slurm.conf is kept by clusterbook itself"
    And it says "set slurm_conf instead"
