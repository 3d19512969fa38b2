@local @nightly
Feature: 021 does in Rust what 020 and 920 do in Python
  The kernel is tmplrun-rust, built by ci/rust-kernel, and no Jupyter has a part in it. The cells call the engine as a library.

  Scenario: From a design to a cluster that runs a Slurm command, and back to nothing
    Given a design of a master and 1 compute node
    When tmplrun runs notebook 021 with
      | remove | True |
    Then it succeeds
    And the provider lists nothing of the cluster

  Scenario: What Rust has made, Python finds as it is designed
    Given a design of a master and 1 compute node
    When tmplrun runs notebook 021
    Then it succeeds
    And the provider lists 2 running nodes, 1 disk and 1 network
    When "clusterbook plan {cluster}" runs
    Then it succeeds
    And it says "as designed"
