@local @commit
Feature: A design with a fault is refused before anything is made
  The message says where the fault is and what to write instead; nothing is created, and no file is changed.

  Scenario Outline: 010 refuses <fault>
    Given a new folder with the notebooks
    When tmplrun runs notebook 010 with
      | <parameter> | <value> |
    Then it ends with exit code 1
    And it says "<message>"
    And no design file was written
    And the provider lists nothing of the cluster

    Examples:
      | fault                              | parameter         | value                     | message                                      |
      | GPUs that aren't counted           | compute_gpus      | two                       | does not say how many                        |
      | a Unix group that doesn't exist    | partition_allow_groups | [physics]            | there is no Unix group 'physics'             |
      | a partition for GPUs without any   | more_partitions   | [{name: gpu, groups: [compute], cpus_per_gpu: 4}] | no group of the partition has GPUs (compute) |
      | a size without a unit              | home_size         | 16                        | disks[0].size: '16' has no unit              |
      | a negative size                    | home_size         | -16 GiB                   | disks[0].size: '-16 GiB' is negative         |
      | fewer host names than nodes        | compute_hosts     | c[1-1]                    | c[1-1] has 1 name for 2 nodes                |
      | a host name that is used twice     | compute_hosts     | c1,master                 | the host name master is also in the master   |
      | a flavor that the provider hasn't  | compute_flavor    | smal                      | did you mean 'small'?                        |
      | a provider that doesn't exist      | provider          | lokal                     | lokal                                        |
      | a name that can't name a cluster   | partition         | DEFAULT                   | can't name a partition                       |

  Scenario: Too few addresses
    Given a new folder with the notebooks
    When tmplrun runs notebook 010 with
      | subnet            | 10.99.1.0/24  |
      | compute_nodes     | 3             |
      | compute_addresses | 10.99.1.21-22 |
    Then it ends with exit code 1
    And it says "groups[0].addresses: 10.99.1.21-22 has 2 addresses for 3 nodes"
    And no design file was written

  Scenario: Overlapping addresses
    Given a new folder with the notebooks
    When tmplrun runs notebook 010 with
      | subnet            | 10.99.1.0/24  |
      | master_address    | 10.99.1.22    |
      | compute_addresses | 10.99.1.21-36 |
    Then it ends with exit code 1
    And it says "groups[0].addresses: 10.99.1.22 also belongs to the master"
    And no design file was written

  Scenario: All faults are told at once
    Given a new folder with the notebooks
    When tmplrun runs notebook 010 with
      | home_size     | 16    |
      | compute_nodes | 20    |
      | partition     | DEFAULT |
    Then it ends with exit code 1
    And it says "disks[0].size: '16' has no unit"
    And it says "c[1-16] has 16 names for 20 nodes"
    And it says "can't name a partition"

  Scenario: An unknown parameter in a design file: the nearest known name is offered
    Given the design
      """
      schema: 1
      name: {cluster}
      groups:
        - {name: compute, node: 3}
      """
    When "clusterbook apply {cluster} --yes" runs
    Then it ends with exit code 2
    And it says "groups[0].node: unknown parameter"
    And it says "did you mean 'nodes'?"
    And the provider lists nothing of the cluster

  Scenario: A design from a newer version
    Given the design
      """
      schema: 99
      name: {cluster}
      """
    When "clusterbook apply {cluster} --yes" runs
    Then it ends with exit code 2
    And it says "newer version"
    And the provider lists nothing of the cluster

  Scenario: A file that is not YAML
    Given the design
      """
      schema: 1
      name: [{cluster}
      """
    When "clusterbook apply {cluster} --yes" runs
    Then it ends with exit code 2
    And the provider lists nothing of the cluster

  Scenario: A private key where a public one belongs is refused, and not repeated
    Given the design
      """
      schema: 1
      name: {cluster}
      users:
        - name: taro
          keys: ["-----BEGIN OPENSSH PRIVATE KEY----- b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"]
      """
    When "clusterbook apply {cluster} --yes" runs
    Then it ends with exit code 2
    And it says "this is a private key"
    And it does not say "b3BlbnNzaC1rZXktdjE"
    And the provider lists nothing of the cluster

  Scenario: A name that another cluster on this provider has
    Given the cluster that the notebooks 010 to 121 have built
    When the provider's listing is noted
    # Another computer's state folder knows nothing of the cluster that is there.
    And "env CLUSTERBOOK_HOME={place}/elsewhere clusterbook apply {cluster} --yes" runs
    Then it ends with exit code 2
    And it says "already used by another cluster"
    And the provider's listing is as noted
