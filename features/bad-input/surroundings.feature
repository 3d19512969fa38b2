@local @commit
Feature: A machine that isn't ready is told so, with what to do

  Scenario: No container engine
    Given a design of a master and 1 compute node
    And no container engine is there
    When "clusterbook apply {cluster} --yes" runs
    Then it ends with exit code 4
    And it says "no-engine.sock"
    And it says "Hint:"
    And there is no file "work/{cluster}.cluster.yaml.lock"

  Scenario: 010 without a container engine: the check says so and nothing is saved
    Given no container engine is there
    When tmplrun runs notebook 010
    Then it ends with exit code 1
    And it says "no-engine.sock"
    And no design file was written

  Scenario: A state folder that can't be written
    Given a design of a master and 1 compute node
    And a state folder that can't be made
    When "clusterbook apply {cluster} --yes" runs
    Then it ends with exit code 4
    And it says "can't be written to"
    And it says "CLUSTERBOOK_HOME"
    And the provider lists nothing of the cluster

  Scenario: A template of one's own that uses a variable which doesn't exist
    Given a design of a master and 1 compute node
    And the file "mine/slurm/slurm.conf.j2"
      """
      ClusterName={{ cluster }}
      SlurmctldHost={{ mastr.name }}
      """
    When "clusterbook apply {cluster} --yes --templates mine" runs
    Then it ends with exit code 4
    And it says "slurm/slurm.conf"
    And it says "2"
