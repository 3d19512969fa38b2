@local
Feature: Whatever is interrupted goes on from there
  A laptop's lid closes, a kernel is killed, a machine loses its power. Running the same notebook again is all that anybody has to do.

  @commit
  Scenario: tmplrun is killed while 020 makes nodes
    Given a new folder with the notebooks
    And notebook 010 has run
    When tmplrun starts notebook 020 in the background
    And the provider lists 1 running node for the first time
    And the program in the background is killed
    Then no process that was started here is left
    When tmplrun runs notebook 020
    Then it succeeds
    And the provider lists exactly what the design says
    And Slurm says that "c1, c2" are idle, and knows no other node
    When "clusterbook plan {cluster} --json" runs
    Then the plan is empty

  @commit
  Scenario: An apply is killed while it configures nodes, and the cluster is destroyed instead
    Given a design of a master and 2 compute nodes
    When "clusterbook apply {cluster} --yes" starts in the background
    And the provider lists 3 running nodes for the first time
    And the program in the background is killed
    And "clusterbook destroy {cluster} --yes" runs
    Then it succeeds
    And the provider lists nothing of the cluster

  @commit
  Scenario: Two applies at once: the second is told who is first
    Given a design of a master and 1 compute node
    When "clusterbook apply {cluster} --yes" starts in the background
    And the provider lists 1 running node for the first time
    And the program in the background is halted
    And "clusterbook apply {cluster} --yes" runs
    Then it ends with exit code 5
    And it says "is being changed by"
    And it says which process holds the cluster
    # Powering off meanwhile is refused, and the design doesn't keep the wish.
    When this Python program runs
      """
      import clusterbook as cb
      try:
          cb.open("{cluster}").power_off()
      except cb.LockedError as error:
          print(error)
      else:
          raise SystemExit("it was powered off")
      assert cb.Design.load("{cluster}").power == "on"
      """
    Then it succeeds
    And it says "is being changed by"
    When the program in the background goes on
    And the program in the background has ended
    Then it succeeds
    And the provider lists 2 running nodes, 1 disk and 1 network

  @commit
  Scenario: A controller that doesn't start is an error with its own words, and nothing waits for it
    Given the design
      """
      schema: 1
      name: {cluster}
      master: {flavor: tiny}
      groups:
        - {name: compute, nodes: 1, hosts: "c[1-9]", flavor: tiny}
      slurm_conf: {SchedulerType: sched/nonsense}
      """
    When "clusterbook apply {cluster} --yes" runs
    Then it ends with exit code 1
    And it says "cannot find sched plugin for sched/nonsense"
    Given the design
      """
      schema: 1
      name: {cluster}
      master: {flavor: tiny}
      groups:
        - {name: compute, nodes: 1, hosts: "c[1-9]", flavor: tiny}
      """
    When "clusterbook apply {cluster} --yes" runs
    Then it succeeds
    And Slurm says that "c1" are idle, and knows no other node

  @commit
  Scenario: A node dies during 020: the error names it, and the next run heals it
    Given a new folder with the notebooks
    And notebook 010 has run
    When tmplrun starts notebook 020 in the background
    And node c2 loses its power as soon as it runs
    And the program in the background has ended
    Then it ends with exit code 1
    And it says "c2"
    When tmplrun runs notebook 020
    Then it succeeds
    And the provider lists exactly what the design says
    And Slurm says that "c1, c2" are idle, and knows no other node
